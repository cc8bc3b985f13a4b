"""The probe against real servers that do and do not ask who is calling."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.doctor import Level, sockets
from runtime.probe import Access, access
from runtime.sockets import Listener, listeners

HTTP = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[1])); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer((sys.argv[2], 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python programs that say a line when they are ready; ends them."""
    made: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        made.append(subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True))
        stdout = made[-1].stdout
        assert stdout
        assert stdout.readline()
        return made[-1]

    yield start
    for each in made:
        each.kill()
        each.communicate()


@pytest.mark.parametrize(
    ("status", "found", "level"),
    [
        (200, Access.OPEN, Level.FAIL),
        (404, Access.OPEN, Level.FAIL),
        (401, Access.REFUSED, Level.OK),
        (403, Access.REFUSED, Level.OK),
    ],
)
def test_an_http_server(child: Any, status: int, found: Access, level: Level) -> None:
    [listener] = listeners(child(HTTP, str(status), "127.0.0.1").pid)
    assert listener.access is found
    assert [check.level for check in sockets([listener])] == [level]


def test_a_server_on_every_address_that_refuses_is_a_warning(child: Any) -> None:
    [listener] = listeners(child(HTTP, "401", "0.0.0.0").pid)
    assert not listener.loopback
    assert [check.level for check in sockets([listener])] == [Level.WARN]


def test_a_listener_that_only_takes_connections_fails_as_unknown(child: Any) -> None:
    code = "import socket,sys\ns=socket.create_server(('127.0.0.1',0))\nprint(1,flush=True)\n"
    echo = "while 1:\n c=s.accept()[0]; c.sendall(b'hello'); c.close()"
    [listener] = listeners(child(code + echo).pid)
    assert listener.access is Access.UNKNOWN
    assert [check.level for check in sockets([listener])] == [Level.FAIL]


def test_a_port_that_is_closed_meanwhile_is_no_finding() -> None:
    with socket.socket() as held:  # bound and not listening: nobody else can take the port meanwhile
        held.bind(("127.0.0.1", 0))
        assert access("127.0.0.1", held.getsockname()[1]) is Access.GONE


def test_a_grpc_server_without_tokens_fails(driver: Callable[..., Any]) -> None:
    """Ray as it comes: its servers answer anybody, and its sockets lie in folders that anybody may enter."""
    started = driver("--open")
    found = listeners(started.hear()["pid"])
    ports = [each for each in found if each.process in ("gcs_server", "raylet") and each.kind == "tcp"]
    assert len(ports) == 3
    assert {each.access for each in ports} == {Access.OPEN}
    assert {check.level for check in sockets(ports)} == {Level.FAIL}


@pytest.mark.parametrize(
    ("folder_mode", "socket_mode", "found"),
    [
        (0o700, 0o666, Access.REFUSED),
        (0o755, 0o600, Access.REFUSED),
        (0o755, 0o666, Access.OPEN),
        (0o750, 0o660, Access.OPEN),
    ],
)
def test_a_unix_socket(folder_mode: int, socket_mode: int, found: Access) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name, socket.socket(socket.AF_UNIX) as server:
        path = Path(name, "s")
        server.bind(str(path))
        path.chmod(socket_mode)
        path.parent.chmod(folder_mode)
        server.listen()
        ours = [each for each in listeners(os.getpid()) if each.address == str(path)]
        assert [each.access for each in ours] == [found]


def test_an_abstract_unix_socket_has_no_rights_to_ask_for() -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0bailiwick-test")
        server.listen()
        [listener] = [each for each in listeners(os.getpid()) if "bailiwick-test" in each.address]
        assert listener.access is Access.OPEN


def test_a_runtime_whose_sockets_cannot_be_seen_fails() -> None:
    assert [check.level for check in sockets([])] == [Level.FAIL]


def test_a_finding_is_plain_json() -> None:
    listener = Listener("127.0.0.1:1", 1, "x", "tcp", Access.OPEN)
    assert json.loads(json.dumps(sockets([listener])[0].json()))["level"] == "fail"


def test_a_server_that_never_answers_does_not_hold_the_probe_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.probe.TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def take() -> None:
            for _ in range(3):
                held.append(server.accept()[0])

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        assert access("127.0.0.1", server.getsockname()[1]) is Access.UNKNOWN
        thread.join()
        for each in held:
            each.close()

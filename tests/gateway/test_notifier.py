"""People are told that something waits, by a real command or a real webhook, which holds up and breaks nothing."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runtime.gateway.peer import MARK
from runtime.notices import Notice, NotifyBy
from runtime.notifier import Notifier

WAITS = Notice("approval", "a1b2", "r1", "triage", "ops.send_mail", "2026-12-01T00:00:00+00:00")
SCRIPT = """#!/bin/sh
cat >> {folder}/said
echo >> {folder}/said
env > {folder}/env
pwd > {folder}/pwd
"""


class Hook:
    """A webhook of our own on a free port; it answers `status` to everything."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.status = 204
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append((self.path, json.loads(body)))
                self.send_response(hook.status)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/waits?to=ops"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    opened = Hook()
    yield opened
    opened.close()


@pytest.fixture
def told() -> list[str]:
    """What the notifier says of itself."""
    return []


@pytest.fixture
def notifier(told: list[str]) -> Iterator[Callable[..., Notifier]]:
    """Opens a notifier that is closed at the end."""
    opened: list[Notifier] = []

    def make(**how: Any) -> Notifier:
        opened.append(Notifier(NotifyBy(**{"gather_s": 0.05, **how}), told.append))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "tell.sh"
    path.write_text(SCRIPT.format(folder=tmp_path))
    path.chmod(0o700)
    return path


def until(true: Callable[[], Any]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_command_is_given_what_waits_on_stdin_and_little_else(
    notifier: Any, script: Path, tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAILIWICK_PASSPHRASE", "hunter2")
    opened = notifier(command=(str(script),))
    opened.tell(WAITS)
    opened.tell(WAITS)
    opened.tell(Notice("in-doubt", "r2", "r2", "triage", "ops.move"))
    opened.close()
    (line,) = (tmp_path / "said").read_text().splitlines()
    assert json.loads(line) == {
        "waiting": [
            {
                "kind": "approval",
                "id": "a1b2",
                "run": "r1",
                "workflow": "triage",
                "tool": "ops.send_mail",
                "expires": "2026-12-01T00:00:00+00:00",
            },
            {"kind": "in-doubt", "id": "r2", "run": "r2", "workflow": "triage", "tool": "ops.move", "expires": ""},
        ]
    }
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert MARK in names, "the gateway refuses what carries it"
    assert names <= {MARK, "HOME", "LANG", "PATH", "PWD", "SHLVL", "_", "OLDPWD"}
    assert (tmp_path / "pwd").read_text() == "/\n"
    assert told == []


def test_a_webhook_gets_it_and_a_redirect_is_not_followed(notifier: Any, hook: Hook, told: list[str]) -> None:
    opened = notifier(webhook=hook.url)
    opened.tell(WAITS)
    until(lambda: hook.got)
    path, said = hook.got[0]
    assert (path, said["waiting"][0]["id"]) == ("/waits?to=ops", "a1b2")
    hook.status = 302
    opened.tell(WAITS)
    until(lambda: told)
    assert "answered 302" in told[0]


def test_failures_are_told_once_and_so_is_the_recovery(notifier: Any, hook: Hook, told: list[str]) -> None:
    opened = notifier(webhook=hook.url, gather_s=0.0)
    hook.status = 500
    for count in (1, 2, 3):
        opened.tell(WAITS)
        until(lambda count=count: len(hook.got) == count)
    hook.status = 200
    opened.tell(WAITS)
    until(lambda: len(told) == 2)
    assert "answered 500" in told[0]
    assert told[1] == ""


@pytest.mark.parametrize(
    ("text", "why"), [("#!/bin/sh\nexit 3\n", "ended with 3"), ("#!/bin/sh\nsleep 60\n", "within 0.2 s"), ("", "start")]
)
def test_a_command_that_fails_or_hangs_is_told_of(notifier: Any, tmp_path: Path, told: list[str], text: str, why: str):
    path = tmp_path / "bad.sh"
    if text:
        path.write_text(text)
        path.chmod(0o700)
    opened = notifier(command=(str(path),), timeout_s=0.2)
    began = time.monotonic()
    opened.tell(WAITS)
    assert time.monotonic() - began < 1, "whoever tells does not wait"
    until(lambda: told)
    assert why in told[0]


@pytest.fixture
def dripping() -> Iterator[int]:
    """The port of a webhook that goes on answering for ever, a byte at a time."""
    over = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            caller, _ = server.accept()
            with caller:
                caller.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while not over.wait(0.02):
                    caller.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        thread.join()


def test_a_webhook_that_answers_for_ever_is_given_up(notifier: Any, told: list[str], dripping: int) -> None:
    notifier(webhook=f"http://127.0.0.1:{dripping}/", timeout_s=0.3).tell(WAITS)
    until(lambda: told)
    assert told[0].startswith("the webhook did not answer")


def test_what_is_told_of_a_failure_holds_no_secret(notifier: Any, hook: Hook, told: list[str]) -> None:
    hook.status = 500
    notifier(webhook=f"http://127.0.0.1:{hook.server.server_port}/hunter2?key=hunter2").tell(WAITS)
    notifier(command=("/bin/false", "--key", "hunter2")).tell(WAITS)
    until(lambda: len(told) == 2)
    assert "hunter2" not in "".join(told)


def test_no_file_is_open_in_the_command_but_its_own(notifier: Any, tmp_path: Path) -> None:
    script = tmp_path / "tell.sh"
    script.write_text(f"#!/bin/sh\nls -l /proc/self/fd > {tmp_path}/fds\n")
    script.chmod(0o700)
    secret = tmp_path / "secret.key"
    with secret.open("w") as held:
        os.set_inheritable(held.fileno(), True)
        notifier(command=(str(script),)).tell(WAITS)
        until(lambda: (tmp_path / "fds").exists() and "2 ->" in (tmp_path / "fds").read_text())
    assert "secret.key" not in (tmp_path / "fds").read_text()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"command": ("/bin/true",), "webhook": "http://127.0.0.1:1"},
        {"command": ("true",)},
        {"webhook": "http://example.org/x"},
        {"webhook": "http://example.org/x", "hosts": ("example.org",)},
        {"webhook": "https://example.org/x"},
        {"webhook": "http://localhost/x"},
        {"webhook": "https://localhost/x"},
        {"webhook": "http://127.0.0.1.example.org/"},
        {"webhook": "http://127.0.0.1@example.org/"},
        {"webhook": "ftp://127.0.0.1/"},
        {"webhook": "http://u:p@127.0.0.1/"},
        {"webhook": "http://127.0.0.1:99999/"},
        {"webhook": "http://127.0.0.1/\r\nX: y"},
        {"shell": "echo"},
    ],
)
def test_a_way_that_may_not_be_used_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NotifyBy(**how)


def test_another_machine_is_spoken_to_over_https_if_it_is_named() -> None:
    assert NotifyBy(webhook="https://example.org/x", hosts=("example.org",)).webhook
    assert NotifyBy(webhook="http://[::1]:80/").webhook

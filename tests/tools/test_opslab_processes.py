"""The lab's processes: really there, really gone afterwards, and no port kept."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from store.records.errors import ToolFailed, Unreachable
from tools.opslab.control import ask
from tools.opslab.lab import Opslab
from tools.opslab.layout import HOST

Gone = Callable[[list[int]], bool]
Family = Callable[[int], list[int]]


def test_a_lab_is_four_processes_on_loopback_in_a_private_folder(shared_lab: Opslab, family: Family) -> None:
    assert len(family(shared_lab.pid)) == 4
    assert stat.S_IMODE(shared_lab.state.stat().st_mode) == 0o700
    assert stat.S_IMODE((shared_lab.state / "supervisor.sock").stat().st_mode) & 0o077 == 0
    assert [entry["name"] for entry in shared_lab.inventory()] == ["gateway", "orders", "inventory"]
    assert shared_lab.front_door()[:2] == (True, 200)


@pytest.mark.parametrize("how", ["stop", "stop command", "SIGTERM", "SIGKILL"])
def test_the_end_of_the_supervisor_is_the_end_of_all(tmp_path: Path, gone: Gone, family: Family, how: str) -> None:
    lab = Opslab(tmp_path / "lab")
    lab.start()
    pids, ports = family(lab.pid), [entry["port"] for entry in lab.inventory()]
    if how == "stop":
        lab.stop()
    elif how == "stop command":
        lab.ask("stop")
    else:
        os.kill(lab.pid, signal.Signals[how])
    assert gone(pids)
    lab.stop()
    lab.stop()
    for port in ports:
        with socket.create_server((HOST, port)) as free:
            assert free.getsockname()[1] == port
    with pytest.raises(Unreachable):
        lab.ask("status")


def test_a_lab_ends_with_whoever_started_it(tmp_path: Path, gone: Gone, family: Family) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tools.opslab.lab import Opslab\n"
        "lab = Opslab(Path(sys.argv[1])); lab.start(); print(lab.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-I", "-c", code, str(tmp_path / "lab")], stdout=subprocess.PIPE) as starter:
        assert starter.stdout
        pids = family(int(starter.stdout.readline()))
        assert len(pids) == 4
        starter.kill()
    assert gone(pids)


def test_a_crashed_service_comes_back_by_itself(lab: Opslab) -> None:
    before = lab.ask("status")["orders"]["pid"]
    os.kill(before, signal.SIGKILL)
    assert lab.recovered(60)
    assert lab.ask("status")["orders"]["pid"] not in (0, before)


def test_a_hung_lab_stops_all_the_same(tmp_path: Path, gone: Gone, family: Family) -> None:
    lab = Opslab(tmp_path / "lab")
    lab.start()
    pids = family(lab.pid)
    for entry in lab.ask("status").values():
        os.kill(entry["pid"], signal.SIGSTOP)
    lab.stop()
    assert gone(pids)


def test_hostile_packages_in_the_current_folder_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "here" / "tools"
    trap.mkdir(parents=True)
    (trap / "__init__.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    monkeypatch.chdir(trap.parent)
    monkeypatch.setenv("PYTHONPATH", str(trap.parent))
    with Opslab(tmp_path / "lab") as lab:
        assert lab.front_door()[0]
    assert not (tmp_path / "sprung").exists()


def test_a_second_lab_in_the_folder_of_a_running_one_is_refused(shared_lab: Opslab) -> None:
    with pytest.raises(Unreachable, match="another lab runs"):
        Opslab(shared_lab.state).start()
    assert shared_lab.front_door()[0]


def test_a_state_folder_with_a_long_name_works(tmp_path: Path) -> None:
    with Opslab(tmp_path / ("long" * 40)) as lab:
        assert lab.front_door()[0]


def test_a_lab_that_cannot_be_written_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreachable, match="cannot make the lab's folder"):
        Opslab(tmp_path / "file" / "lab").start()
    with pytest.raises(Unreachable, match="no state folder"):
        ask(tmp_path / "none", "status")


@pytest.mark.parametrize("line", [b"not json\n", b"[]\n", b"{}\n", b'{"command": "effect"}\n', b"\n"])
def test_the_supervisor_answers_nonsense_with_an_error_and_goes_on(shared_lab: Opslab, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        folder = os.open(shared_lab.state, os.O_PATH)
        link.connect(f"/proc/self/fd/{folder}/supervisor.sock")
        os.close(folder)
        link.sendall(line)
        assert b'"ok": false' in link.recv(4096)
    assert shared_lab.ask("status")["gateway"]["state"] == "running"


def test_unknown_commands_are_refused(shared_lab: Opslab) -> None:
    with pytest.raises(ToolFailed, match="no such command"):
        shared_lab.ask("explode")
    with pytest.raises(ToolFailed, match="no such service"):
        shared_lab.ask("reload", service="nobody")


def test_a_healthy_front_door_stays_healthy_for_a_while(shared_lab: Opslab) -> None:
    for _ in range(20):
        assert shared_lab.front_door()[0]
        time.sleep(0.02)

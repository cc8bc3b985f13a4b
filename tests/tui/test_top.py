"""The verb itself, in a real pseudo-terminal, in a process of its own."""

import asyncio
import inspect
import os
import pty
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from store.records.errors import SettingsError
from tui.app import top

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys, pathlib; from tui.app import top; top(*map(pathlib.Path, sys.argv[1:]))"


async def watched(until, *arguments, **environment):
    """Run top in a terminal until it has written `until`, press q, and give back what it wrote and its exit code."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "vt100", "COLUMNS": "80", "LINES": "24", **environment}
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT)
    os.close(theirs)
    written = b""

    left = asyncio.Event()

    def ready():
        nonlocal written
        try:
            written += os.read(ours, 65536)
        except OSError:  # all is read, and nobody has the other end any more
            asyncio.get_running_loop().remove_reader(ours)
            left.set()

    asyncio.get_running_loop().add_reader(ours, ready)
    try:
        while until not in written and not left.is_set():
            await asyncio.sleep(0.02)
        os.write(ours, b"q")
        await left.wait()
        await asyncio.to_thread(process.wait)
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        process.kill()
        process.wait()
        os.close(ours)
    return written.decode(errors="replace"), process.returncode


async def test_it_runs_in_a_terminal_and_leaves_it_in_order(stage, open_gateway, path):
    stage.begin("r1")
    await stage.tell("step.completed", run="r1", step="/1", tool="ops.read_logs")
    await open_gateway(stage)
    written, code = await watched(b"ops.read_logs", path)
    assert code == 0
    assert "epoch 3" in written
    assert "Traceback" not in written
    assert "\x1b[?1049h" in written.split("epoch 3")[0]
    assert written.rstrip().rfind("\x1b[?1049l") > written.find("epoch 3")


async def test_without_a_socket_it_finds_the_newest_runtime(stage, open_gateway, another, tmp_path):
    folder = tmp_path / "bailiwick"
    other = another("two")
    stage.begin("older")
    other.begin("newer")
    await open_gateway(stage, folder / "gateway.sock")
    await open_gateway(other, folder / "embedded-1.sock")
    written, code = await watched(b"newer", XDG_RUNTIME_DIR=str(tmp_path), BAILIWICK_SOCKET="")
    assert code == 0
    assert "older" not in written


async def test_with_no_runtime_it_waits_without_a_traceback(tmp_path):
    written, code = await watched(b"retrying", tmp_path / "none.sock", NO_COLOR="1")
    assert code == 0
    assert "no runtime is listening" in written
    assert "Traceback" not in written


def test_without_a_terminal_it_says_what_to_use_instead(capsys):
    with pytest.raises(SettingsError, match="bailiwick status --json"):
        top()


def test_the_command_line_finds_it_and_loads_it_without_textual():
    (entry,) = entry_points(group="bailiwick.verbs", name="top")
    assert entry.load() is top
    assert [str(each) for each in inspect.signature(top).parameters.values()] == ["socket: pathlib.Path | None = None"]
    program = "import sys, tui.app; print('textual' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"

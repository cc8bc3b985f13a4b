"""The tool host's actor right after Ray has started it anew, when calls that waited for it come all at once.

Its methods are called directly, without Ray between, but in a process of its own: the actor ends every process that
descends from it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AWKWARD = ROOT / "tests/tools/awkward_server.py"
CALLS = 8
LIFE = """
import asyncio, json, sys
from pathlib import Path
from runtime.actors.tool_host import ToolHostActor
from store.records.errors import BailiwickError
from tools.catalog import Catalog, Server

async def life(command, cwd):
    server = Server(command=tuple(command), start_timeout_s=60)
    catalogs = [Catalog(server={"odd": server}), *([Catalog(server={"odd": server})] if cwd == "twice" else [])]
    actor = ToolHostActor.__ray_metadata__.modified_class(catalogs, Path("logs"), b"s")
    calls = (actor.call(b"s", "call", "odd.echo", {"text": str(n)}, "key", 60.0, 1) for n in range(int(sys.argv[2])))
    said = await asyncio.gather(*calls, return_exceptions=True)
    print(json.dumps([type(each).__name__ if isinstance(each, BailiwickError) else each.value for each in said]))
    await actor.call(b"s", "close")

asyncio.run(life(json.loads(sys.argv[1]), sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("catalogs", "said"),
    [("once", [{"text": str(number)} for number in range(CALLS)]), ("twice", ["Unreachable"] * CALLS)],
)
def test_many_calls_open_the_servers_once(tmp_path: Path, catalogs: str, said: list[object]) -> None:
    """And if they cannot be opened, no call has left: that is what the gate must be told, for it has an intent."""
    command = json.dumps([sys.executable, "-I", "-S", str(AWKWARD), "", str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", LIFE, command, str(CALLS), catalogs],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == said
    starts = tmp_path / "starts"
    assert (starts.read_text() if starts.exists() else "") == ("x" if catalogs == "once" else "")

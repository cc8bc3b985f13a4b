"""MCP servers that misbehave: each way has a typed error of one line, and leaves nothing running."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from store.records.errors import BailiwickError, SettingsError, ToolFailed, Unreachable
from tools.catalog import MARK, Server
from tools.mcp.toolset import LONGEST_WAIT_S, McpToolset
from tools.results import BadResult

Entry = Callable[..., Server]
Gone = Callable[[list[int]], bool]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"command": ["/nowhere/at-all"]}, "no program"),
        ({"command": [sys.executable, "-c", "raise SystemExit(3)"]}, "did not start: its process ended"),
        ({"command": [sys.executable, "-c", "print('hello')"]}, "not a JSON-RPC message"),
        ({"command": [sys.executable, "-c", "print('x' * 5_000_000, end='')"]}, "more than 4 MiB"),
        ({"command": [sys.executable], "cwd": "/nowhere"}, "folder"),
    ],
)
async def test_a_server_that_does_not_start_is_unreachable(entry: dict[str, object], says: str) -> None:
    toolset = McpToolset("odd", Server.model_validate(entry))
    with pytest.raises(Unreachable) as caught:
        await toolset.open()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert toolset.pid == 0


async def test_a_server_that_says_nothing_is_given_up_on(awkward: Entry) -> None:
    toolset = McpToolset("odd", awkward("mute", start_timeout_s=0.5))
    with pytest.raises(Unreachable, match=r"did not start in 0\.5 s"):
        await toolset.open()


@pytest.mark.parametrize(
    ("story", "says"),
    [("bad-name", "9 lives!"), ("twins", "odd.two_names"), ("bad-schema", "invalid schema")],
)
async def test_definitions_that_cannot_be_used_are_refused(awkward: Entry, story: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        await McpToolset("odd", awkward(story)).open()


@pytest.mark.parametrize(
    ("tools", "says"),
    [
        ({"nosuch": {}}, "odd.nosuch, which the server does not offer"),
        ({"echo": {"key_argument": "nokey"}}, "'nokey'"),
        ({"echo": {"target": "nothing"}}, "'nothing'"),
    ],
)
async def test_a_tools_file_that_misfits_the_server_is_refused(
    awkward: Entry, tools: dict[str, object], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        await McpToolset("odd", awkward(tools=tools)).open()


async def test_names_are_normalised_and_the_key_is_hidden(awkward: Entry) -> None:
    toolset = McpToolset("odd", awkward(tools={"echo": {"key_argument": "key"}}))
    await toolset.open()
    records = {record.name: record for record in await toolset.records()}
    assert "odd.plain_text" in records
    assert set(records["odd.echo"].input_schema["properties"]) == {"text"}
    assert set(records["odd.fail"].input_schema["properties"]) == {"text", "key"}
    assert records["odd.echo"].version == "3"
    await toolset.close()


@pytest.mark.parametrize(
    ("tool", "error", "says"),
    [
        ("odd.die", ToolFailed, "is gone: its process ended"),
        ("odd.garbage", ToolFailed, "not a JSON-RPC message"),
        ("odd.flood", ToolFailed, "more than 4 MiB"),
        ("odd.big", BadResult, "more than 256 KiB"),
        ("odd.image", BadResult, "other than text or JSON"),
    ],
)
async def test_a_call_that_goes_wrong_fails_in_one_line_and_the_next_is_answered(
    awkward: Entry, tool: str, error: type[BailiwickError], says: str
) -> None:
    toolset = McpToolset("odd", awkward())
    await toolset.open()
    with pytest.raises(error) as caught:
        await toolset.call(tool, {}, 60)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (await toolset.call("odd.echo", {"text": "on"}, 60)).value == {"text": "on"}
    await toolset.close()


async def test_a_dead_server_fails_all_calls_in_flight_and_starts_once(awkward: Entry, tmp_path: Path) -> None:
    toolset = McpToolset("odd", awkward())
    await toolset.open()
    calls = [asyncio.create_task(toolset.call("odd.hang", {}, 60)) for _ in range(3)]
    while not (tmp_path / "hanging").exists():
        await asyncio.sleep(0.01)
    os.kill(toolset.pid, signal.SIGKILL)
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in ended] == [ToolFailed] * 3
    again = await asyncio.gather(*(toolset.call("odd.echo", {"text": "x"}, 60) for _ in range(3)))
    assert [outcome.value for outcome in again] == [{"text": "x"}] * 3
    assert (tmp_path / "starts").read_text() == "xx"
    await toolset.close()


async def test_starts_that_keep_failing_wait_longer_and_longer(
    awkward: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolset = McpToolset("odd", awkward())
    await toolset.open()
    for number in range(3):
        if number == 2:  # the pause counts from the start before it, which on a busy machine would use it up
            monkeypatch.setattr("tools.mcp.toolset.FIRST_WAIT_S", LONGEST_WAIT_S)
        with pytest.raises(ToolFailed):
            await toolset.call("odd.die", {}, 60)
    with pytest.raises(Unreachable, match="did not start again"):
        await toolset.call("odd.echo", {"text": "x"}, 1)
    assert (tmp_path / "starts").read_text() == "xxx"
    await toolset.close()


async def test_plain_text_becomes_an_object(awkward: Entry) -> None:
    toolset = McpToolset("odd", awkward())
    await toolset.open()
    assert (await toolset.call("odd.plain_text", {}, 60)).value == {"text": "not json"}
    assert (await toolset.call("odd.deep", {}, 60)).value == {"text": "[" * 100_000}
    await toolset.close()


async def test_a_definition_that_changed_over_a_restart_is_not_called(awkward: Entry, tmp_path: Path) -> None:
    toolset = McpToolset("odd", awkward())
    await toolset.open()
    before = [record.digest for record in await toolset.records()]
    (tmp_path / "definition").write_text("sends your files to whoever asks")
    with pytest.raises(ToolFailed):
        await toolset.call("odd.die", {}, 60)
    with pytest.raises(ToolFailed, match="definition has changed"):
        await toolset.call("odd.echo", {"text": "x"}, 60)
    assert [record.digest for record in await toolset.records()] == before
    await toolset.close()


async def test_the_server_gets_no_variable_that_the_tools_file_does_not_name(
    awkward: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("BAILIWICK_SOCKET", "/run/x")
    toolset = McpToolset("odd", awkward(env={"MODE": "test"}))
    await toolset.open()
    seen = (await toolset.call("odd.environment", {}, 60)).value["environment"]
    assert set(seen) - {"LC_CTYPE"} == {"PATH", "LANG", "MODE", MARK}
    await toolset.close()


async def test_stderr_goes_to_a_private_file_and_nowhere_else(
    awkward: Entry, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    toolset = McpToolset("odd", awkward(), log_dir=tmp_path)
    await toolset.open()
    await toolset.close()
    log = tmp_path / "odd.stderr"
    assert "a secret" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    assert "secret" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("how", ["close", "die", "kill server", "kill guard softly"])
async def test_nothing_that_a_server_started_outlives_it(awkward: Entry, gone: Gone, how: str) -> None:
    toolset = McpToolset("odd", awkward())
    await toolset.open()
    pids = (await toolset.call("odd.daemon", {}, 60)).value
    guard = toolset.pid
    if how == "close":
        await toolset.close()
    elif how == "die":
        with pytest.raises(ToolFailed):
            await toolset.call("odd.die", {}, 60)
    elif how == "kill server":
        os.kill(pids["server"], signal.SIGKILL)
    else:
        os.kill(guard, signal.SIGTERM)
    assert await asyncio.to_thread(gone, [pids["child"], pids["server"], guard])
    await toolset.close()


HOST = """
import asyncio, sys
from pathlib import Path
from tools.catalog import MARK, Server
from tools.mcp.toolset import McpToolset

async def main():
    toolset = McpToolset("odd", Server(command=tuple(sys.argv[1:])))
    await toolset.open()
    pids = (await toolset.call("odd.daemon", {}, 60)).value
    print(toolset.pid, pids["server"], pids["child"], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


ALONE = """
import asyncio, os, signal, sys
from tools.catalog import Catalog, Server
from tools.host import ToolHost, become_subreaper

def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])

async def main():
    become_subreaper()
    host = ToolHost(alone=True)
    await host.open([Catalog(server={"odd": Server(command=tuple(sys.argv[1:]))})])
    pids = (await host.call("odd.daemon", {}, "k", 60, 1)).value
    guard = parent_of(pids["server"])
    os.kill(guard, signal.SIGKILL)
    while (parent := parent_of(pids["child"])) == pids["server"]:
        await asyncio.sleep(0.01)
    print(pids["child"], int(parent == os.getpid()), flush=True)
    await host.close()
    print("closed", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_what_a_killed_guard_leaves_stays_the_hosts_and_ends_with_it(awkward: Entry, gone: Gone) -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", ALONE, *awkward().command, stdout=asyncio.subprocess.PIPE
    )
    assert host.stdout
    child, adopted = map(int, (await host.stdout.readline()).split())
    assert adopted
    assert await host.stdout.readline() == b"closed\n"
    assert await asyncio.to_thread(gone, [child])
    host.kill()
    await host.communicate()


async def test_a_log_that_cannot_be_written_is_said(awkward: Entry, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="No such file"):
        await McpToolset("odd", awkward(), log_dir=tmp_path / "none").open()


async def test_nothing_outlives_a_tool_host_that_is_killed(awkward: Entry, gone: Gone) -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", HOST, *awkward().command, stdout=asyncio.subprocess.PIPE
    )
    assert host.stdout
    pids = [int(word) for word in (await host.stdout.readline()).split()]
    assert len(pids) == 3
    host.kill()
    await host.communicate()
    assert await asyncio.to_thread(gone, pids)

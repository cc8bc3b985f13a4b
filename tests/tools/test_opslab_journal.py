"""The lab counts effects itself: once a key, across crashes of the MCP server, of the host and of the lab."""

import asyncio
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store.records.errors import ToolFailed
from tools.host import ToolHost
from tools.opslab.effects import status
from tools.opslab.journal import Journal, Refused, executions
from tools.opslab.lab import Opslab
from tools.process import descendants

RESTART = {"service": "orders"}


def test_a_key_is_done_once_and_its_result_comes_again(lab: Opslab) -> None:
    first = lab.ask("effect", tool="open_ticket", arguments={"title": "front door"}, key="k")
    assert lab.ask("effect", tool="open_ticket", arguments={"title": "front door"}, key="k") == first == {"id": "TCK-1"}
    assert lab.ask("effect", tool="open_ticket", arguments={"title": "front door"}, key="k2") == {"id": "TCK-2"}
    assert lab.executions() == {"ops.open_ticket": 2}
    assert lab.ask("effect_status", key="k") == {"happened": True, "result": first, "attempts": 2}
    assert lab.ask("effect_status", key="other")["happened"] is False


def test_a_key_is_for_one_effect_only(lab: Opslab) -> None:
    lab.ask("effect", tool="restart_service", arguments=RESTART, key="k")
    with pytest.raises(ToolFailed, match="used for another effect"):
        lab.ask("effect", tool="restart_service", arguments={"service": "gateway"}, key="k")
    with pytest.raises(ToolFailed, match="needs a key"):
        lab.ask("effect", tool="restart_service", arguments=RESTART, key="")


def test_attempts_at_the_same_moment_execute_once(lab: Opslab) -> None:
    def attempt(_: int) -> object:
        return lab.ask("effect", tool="restart_service", arguments=RESTART, key="same")

    with ThreadPoolExecutor(5) as pool:
        results = list(pool.map(attempt, range(5)))
    assert results == [results[0]] * 5
    assert lab.executions() == {"ops.restart_service": 1}
    assert lab.ask("effect_status", key="same")["attempts"] == 5


def test_the_journal_survives_the_lab(tmp_path: Path) -> None:
    with Opslab(tmp_path / "lab") as lab:
        result = lab.ask("effect", tool="open_ticket", arguments={"title": "x"}, key="k")
        os.kill(lab.pid, signal.SIGKILL)
    with Opslab(tmp_path / "lab") as again:
        assert again.ask("effect", tool="open_ticket", arguments={"title": "x"}, key="k") == result
        assert again.executions() == {"ops.open_ticket": 1}


def test_an_effect_that_began_and_never_ended_is_in_doubt_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "executions.jsonl"
    Journal(path).begin("k", "restart_service", RESTART)
    with path.open("a") as file:
        file.write('{"key": "torn", "sta')
    assert executions(path) == {"restart_service": 1}
    journal = Journal(path)
    assert status(journal, "k") == {"happened": None, "result": None, "attempts": 1}
    assert journal.find("torn") is None
    assert executions(path) == {"restart_service": 1}
    with pytest.raises(Refused, match="another effect"):
        journal.repeat("k", "clear_quota", RESTART)
    journal.begin("torn", "clear_quota", RESTART)
    assert executions(path) == {"clear_quota": 1, "restart_service": 1}


async def test_effects_through_mcp_are_keyed_and_can_be_reconciled(lab: Opslab) -> None:
    host = ToolHost()
    await host.open([lab.catalog()])
    records = host.records()
    assert "key" not in records["ops.restart_service"].input_schema["properties"]
    first = await host.call("ops.restart_service", RESTART, "run/1", 60, 1)
    assert first.value["healthy"] is True
    assert (await host.call("ops.restart_service", RESTART, "run/1", 60, 1)).value == first.value
    known = await host.call(records["ops.restart_service"].reconcile, {"key": "run/1"}, "", 60, 1)
    assert known.value == {"happened": True, "result": first.value, "attempts": 2}
    refused = await host.call("ops.rollback_config", RESTART, "run/2", 60, 1)
    assert refused.error
    assert "only one config version" in refused.value
    assert lab.executions() == {"ops.restart_service": 1}
    await host.close()


async def test_killing_the_server_in_the_middle_of_an_effect_duplicates_nothing(lab: Opslab) -> None:
    host = ToolHost()
    await host.open([lab.catalog()])
    before = set(descendants(lab.pid))
    (server,) = [pid for pid in descendants(os.getpid()) if is_server(pid) and pid not in before]
    effect = asyncio.create_task(host.call("ops.restart_service", RESTART, "run/1", 60, 1))
    journal = lab.state / "executions.jsonl"
    while not journal.exists():
        await asyncio.sleep(0.001)
    os.kill(server, signal.SIGKILL)
    with pytest.raises(ToolFailed, match="is gone"):
        await effect
    known = await host.call("ops.effect_status", {"key": "run/1"}, "", 60, 1)
    assert known.value["happened"] in (True, None)
    again = await host.call("ops.restart_service", RESTART, "run/1", 60, 1)
    assert again.value["restarted"] is True
    assert lab.executions() == {"ops.restart_service": 1}
    await host.close()


def is_server(pid: int) -> bool:
    """Whether a process is the lab's MCP server itself, not its guard."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"tools.opslab.server" in words and not any(word.endswith(b"guard.py") for word in words)


async def test_every_read_has_a_short_answer_that_fits_its_schema(shared_lab: Opslab) -> None:
    host = ToolHost()
    await host.open([shared_lab.catalog()])
    for name, record in host.records().items():
        if record.local_read:
            needs = record.input_schema.get("required", [])
            values = {"service": "orders", "query": "disk quota exceeded", "key": "none"}
            outcome = await host.call(name, {argument: values[argument] for argument in needs}, "", 60, 1)
            assert not outcome.error, name
            assert len(json.dumps(outcome.value)) < 2000, name
    services = host.records()["ops.read_logs"].input_schema["properties"]["service"]["enum"]
    assert services == ["gateway", "orders", "inventory"]
    await host.close()

"""Any process of the runtime may be killed in the middle of a run: it still finishes, and nothing happens twice."""

import os
import signal
from collections.abc import Callable
from typing import Any

from runtime.gateway.messages import EventView
from store.records.errors import Unreachable


async def kill(site: Any, running: Any, at: Callable[[EventView], tuple[str, ...]]) -> list[str]:
    """Follow a demo and kill -9 the parts that `at` names for an event; the names of those that were killed."""
    killed: list[str] = []
    try:
        async with site.client(running, site.data / "demo") as client:
            async for view in client.follow():
                parts = (await client.status()).parts if (names := at(view)) else {}
                for name in names:
                    assert parts[name] > 0, f"{name} is down already"  # and 0 would be a signal to ourselves
                    os.kill(parts[name], signal.SIGKILL)
                    killed.append(name)
    except Unreachable:
        pass  # the demo is over
    return killed


def epochs(site: Any) -> list[int]:
    """The epochs of the demo's ledger in which anything was done. A look at it without a daemon is an epoch too."""
    query = "SELECT DISTINCT epoch FROM events WHERE kind <> 'audit.read' ORDER BY epoch"
    done = site.run("audit", "sql", query, "--json", "--data-dir", str(site.data / "demo"))
    return [row[0] for row in done.json["rows"]]


async def test_every_part_is_killed_once_in_one_run(sites: Any) -> None:
    """Worker, tool host and model server right after the model's first call; the core while a person is asked."""
    site = sites()
    running = site.start("demo", "--seed", "7", "--approve", "yes", "--json")
    left = {"step.completed": ("worker", "reviewer", "host", "model"), "approval.requested": ("core",)}

    def at(view: EventView) -> tuple[str, ...]:
        event = view.event
        by_model = event["kind"] != "step.completed" or event["tool"].startswith(("ops.read", "ops.get", "ops.diff"))
        return left.pop(event["kind"], ()) if by_model else ()

    killed = await kill(site, running, at)
    done = running.wait()
    assert (done.code, sorted(killed)) == (0, ["core", "host", "model", "reviewer", "worker"]), done.err
    assert len(done.out.splitlines()) == 1
    assert done.json["healthy"]
    trail = site.trail(done.json["run"], site.data / "demo")
    assert trail.effects() == done.json["effects"] == {"ops.rollback_config": 1}
    assert epochs(site) == [1, 2]
    assert site.run("audit", "verify", "--data-dir", str(site.data / "demo")).code == 0


async def test_the_tool_host_and_the_core_are_killed_while_an_effect_is_under_way(sites: Any) -> None:
    site = sites()
    running = site.start("demo", "--fault", "full-quota", "--approve", "yes", "--json")
    left = {"effect.intent": ("host", "core")}
    killed = await kill(site, running, lambda view: left.pop(view.event["kind"], ()))
    done = running.wait()
    assert (done.code, killed) == (0, ["host", "core"]), done.err
    trail = site.trail(done.json["run"], site.data / "demo")
    assert trail.effects() == done.json["effects"] == {"ops.clear_quota": 1}
    assert epochs(site) == [1, 2]
    assert site.run("audit", "verify", "--data-dir", str(site.data / "demo")).code == 0

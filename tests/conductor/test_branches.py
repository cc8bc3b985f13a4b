"""Branches at once: one order of results, live and replayed, whatever moment the core dies at."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.values import Backoff
from runtime.contract.workflow import Workflow
from store.records.errors import DeadLetter, Timeout, ToolFailed
from store.records.kinds import Kind

Tree = tuple[Any, ...]


def flow(function: Callable[..., Awaitable[Any]]) -> Workflow:
    return Workflow("flow", 1, function, None, ())


async def test_the_first_branch_wins_and_the_others_are_stopped(live: Any, site: Any) -> None:
    async def race(run: Run) -> list[Any]:
        async def slow() -> str:
            run.stage("ops.page_on_call", message="never sent")
            await run.sleep(60)
            return "slow"

        async def quick() -> str:
            run.stage("ops.open_ticket", title="orders")
            await run.sleep(0)
            return "quick"

        won = await run.first(slow, quick)
        await run.review()
        return [*won, [receipt.tool for receipt in await run.commit()]]

    async with live(flow(race)) as life:
        view = await life.run("flow")
        assert life.value(view.run) == [1, "quick", ["ops.open_ticket"]]
        assert [kind.decision for kind, _ in life.events(view.run, Kind.CHANGE_SET_DISCARDED)] == [""]
    assert [tool for tool, _, _ in site.effects()] == ["open_ticket"]


async def test_an_error_is_an_end_too(live: Any) -> None:
    async def race(run: Run) -> str:
        async def fails() -> None:
            raise ToolFailed("first of all")

        try:
            await run.first(lambda: run.sleep(60), fails)
        except ToolFailed as error:
            return error.what
        return ""

    async with live(flow(race)) as life:
        assert (await life.run("flow")).outcome == "first of all"


async def test_a_limit(live: Any) -> None:
    async def limited(run: Run) -> list[Any]:
        in_time = await run.limit(60, run.uuid)
        try:
            await run.limit(0.01, lambda: run.sleep(60))
        except Timeout as error:
            return [len(in_time), error.what]
        return []

    async with live(flow(limited)) as life:
        view = await life.run("flow")
        assert life.value(view.run) == [36, "a step did not end within 0.01 s"]


async def test_a_commit_in_a_branch_that_lost_is_not_broken_off(live: Any, site: Any) -> None:
    site.trouble["restart_service"] = ["lost", "lost"]  # half a second of pauses, and then it works

    async def race(run: Run) -> str:
        async def repairs() -> None:
            run.stage("ops.restart_service", service="orders")
            run.stage("ops.open_ticket", title="orders")
            await run.review()
            await run.commit()

        async def hurries() -> str:
            while not life.events(run.id, Kind.EFFECT_INTENT):
                await run.sleep(0.01)
            return "won"

        return str((await run.first(repairs, hurries))[1])

    async with live(flow(race)) as life:
        assert (await life.run("flow")).outcome == "won"
    assert [tool for tool, _, _ in site.effects()] == ["restart_service", "open_ticket"]


async def test_retries_and_a_dead_letter(live: Any, site: Any) -> None:
    site.trouble["read_logs"] = ["error"] * 5
    backoff = Backoff(attempts=2, first_s=0.001)

    async def reads(run: Run) -> int:
        logs = await run.retry(lambda: run.call("ops.read_logs", service="orders"), backoff)
        return len(logs.lines)

    async with live(flow(reads)) as life:
        run = await life.submit("flow")
        assert (await life.finish(run)).status == "parked"
        assert life.error(run)["kind"] == "DeadLetter"
        for tried, status in ((4, "parked"), (6, "completed")):
            await life.core.retry(run, life.user)
            assert (await life.finish(run)).status == status
            assert len(site.trouble["read_logs"]) == max(0, 5 - tried)
        assert life.value(run) == 1
    async with live(flow(reads)) as life:
        with pytest.raises(Exception, match="has ended"):
            await life.core.retry(run, life.user)


async def test_a_dead_letter_that_the_workflow_catches(live: Any, site: Any) -> None:
    site.trouble["read_logs"] = ["error"] * 2

    async def reads(run: Run) -> str:
        try:
            await run.retry(lambda: run.call("ops.read_logs", service="orders"), Backoff(2, 0.0))
        except DeadLetter as error:
            return error.what
        return ""

    async with live(flow(reads)) as life:
        assert "failed 2 times" in (await life.run("flow")).outcome


def tree(dice: random.Random, depth: int) -> Tree:
    """A random tree of steps and branches."""
    if depth == 0 or dice.random() < 0.4:
        return dice.choice([("uuid",), ("sleep", dice.random() / 500), ("stage",), ("read",)])
    kind = dice.choice(["gather", "first", "sequence", "sequence"])
    return (kind, *(tree(dice, depth - 1) for _ in range(dice.randint(1, 3))))


async def grow(run: Run, node: Tree, seen: list[str], name: str) -> None:
    """Take the steps of a tree; `seen`, which all branches share, tells in which order they got their results."""
    match node:
        case ("uuid",):
            seen.append(f"{name} {await run.uuid()}")
        case ("sleep", seconds):
            await run.sleep(seconds)
            seen.append(name)
        case ("read",):
            await run.call("ops.list_services")
            seen.append(name)
        case ("stage",):
            run.stage("ops.open_ticket", title=f"{len(seen)}")
        case ("sequence", *nodes):
            for index, each in enumerate(nodes):
                await grow(run, each, seen, f"{name}.{index}")
        case (kind, *nodes):
            works = [lambda i=i, n=n: grow(run, n, seen, f"{name}.{i}") for i, n in enumerate(nodes)]
            await (run.gather(*works) if kind == "gather" else run.first(*works))
            seen.append(f"{name} {kind}")


@pytest.mark.parametrize("seed", range(12))
async def test_any_tree_of_branches_replays_in_the_recorded_order(live: Any, site: Any, seed: int) -> None:
    dice = random.Random(seed)
    grown = ("sequence", tree(dice, 4), tree(dice, 4), ("uuid",))
    orders: list[list[str]] = []

    async def branches(run: Run) -> list[str]:
        seen: list[str] = []
        orders.append(seen)
        await grow(run, grown, seen, "t")
        run.discard()
        await run.uuid()
        return seen

    run, lives = "", 0
    while True:
        async with live(flow(branches)) as life:
            life.dies_after(dice.randint(1, 6 + 2 * lives))  # each life looks at its reads anew before it gets on
            view = await (life.resume(run) if run else life.finish(run := await life.submit("flow")))
            lives += 1
            assert view.status in ("running", "waiting", "interrupted", "completed"), view.outcome
        if view.status == "completed":
            break
    async with live(flow(branches)) as life:
        assert life.value(run) == orders[-1]
        assert life.repeated(run) == []
    for earlier, later in pairwise(orders):
        recorded = [line for line in earlier if line in later]
        assert recorded == later[: len(recorded)]


async def test_a_changed_workflow_is_parked_and_does_not_wait_for_ever(live: Any) -> None:
    async def before(run: Run) -> None:
        await run.gather(run.uuid, run.uuid)
        await run.sleep(60)

    async def after(run: Run) -> None:
        async def idle() -> None:
            """Takes no step where one was recorded."""

        await run.gather(idle, run.uuid)
        await run.gather(run.uuid, run.uuid)

    async with live(flow(before)) as life:
        run = await life.submit("flow")
        while not life.events(run, Kind.WAIT_BEGUN):
            await asyncio.sleep(0.005)
    async with live(flow(after)) as life:
        assert (await life.resume(run)).status == "parked"
        assert life.error(run)["kind"] == "ReplayMismatch"

"""Queues: who is driven now and who waits, across restarts, and what gives a place back."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.conductor.queues import DEFAULT, Queue, Queues, Ticket
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import Submission
from runtime.settings import QueueLimits
from store.records.errors import SettingsError
from store.records.kinds import Kind


class Go(BaseModel):
    """What lets a run go on."""


ONE = {"slow": QueueLimits(concurrency=1)}


def flow(function: Callable[..., Awaitable[Any]], name: str = "flow") -> Workflow:
    return Workflow(name, 1, function, None, ())


async def waits(run: Run) -> str:
    await run.wait("go", Go)
    return "done"


async def at_once(run: Run) -> str:
    return "done"


def ticket(seq: int, tenant: str = "a", new: bool = True) -> Ticket:
    return Ticket(new, seq, f"r{seq}", tenant, "")


def placed(queue: Queue, now: float = 0.0) -> list[int]:
    return [each.seq for each in queue.admit(now)[0]]


def test_first_come_first_served_and_what_was_started_before_comes_before() -> None:
    queue = Queue(QueueLimits(concurrency=2), sorted([ticket(3), ticket(1), ticket(2), ticket(9, new=False)]))
    assert placed(queue) == [9, 1]
    assert placed(queue) == []
    queue.leave("r9")
    assert placed(queue) == [2]


def test_a_tenant_at_its_limit_holds_up_nobody_else() -> None:
    waiting = [ticket(1), ticket(2), ticket(3, "b"), ticket(4, "b"), ticket(5, "c")]
    queue = Queue(QueueLimits(concurrency=3, tenant_concurrency=1), waiting)
    assert placed(queue) == [1, 3, 5]
    queue.leave("r3")
    assert placed(queue) == [4]


def test_rates_are_of_any_minute() -> None:
    queue = Queue(QueueLimits(per_minute=2), [ticket(1), ticket(2)])
    assert queue.admit(0.0) == ([ticket(1), ticket(2)], inf)
    queue.waiting += [ticket(3), ticket(4), ticket(5, new=False)]
    queue.waiting.sort()
    found, again = queue.admit(40.0)
    assert ([each.seq for each in found], again) == ([5], 20.0)
    assert placed(queue, 59.9) == []
    assert placed(queue, 60.0) == [3, 4]


def test_rates_of_a_tenant() -> None:
    queue = Queue(QueueLimits(per_minute=3, tenant_per_minute=1), [ticket(1), ticket(2), ticket(3, "b")])
    assert placed(queue) == [1, 3]
    queue.waiting += [ticket(4, "c"), ticket(5, "d")]
    assert placed(queue, 1.0) == [4]
    found, again = queue.admit(2.0)
    assert (found, again) == ([], 58.0)
    assert placed(queue, 60.0) == [2, 5]


async def test_a_rate_lets_the_next_in_by_itself() -> None:
    driven = asyncio.Queue[str]()
    queues = Queues({"q": QueueLimits(per_minute=1)}, driven.put_nowait)
    queues.started([("q", "a", 59.9), ("gone", "a", 1.0)])
    queues.ask("q", ticket(1))
    assert (queues.waits("r1"), queues.count) == (True, 1)
    assert await driven.get() == "r1"
    assert (queues.waits("r1"), queues.count) == (False, 0)


def test_a_start_that_the_clock_says_is_yet_to_come_counts_as_of_now() -> None:
    queues = Queues({"q": QueueLimits(per_minute=1)}, lambda _: None, now=lambda: 100.0)
    queues.started([("q", "a", -3600.0)])
    assert list(queues.queues["q"].starts) == [(100.0, "a")]


async def status(life: Any, run: str) -> str:
    found: str = (await life.core.run(run)).status
    return found


async def until_waiting(life: Any, run: str) -> None:
    while await status(life, run) != "waiting":
        await asyncio.sleep(0.005)


async def test_the_next_run_begins_when_one_ends(live: Any) -> None:
    async with live(flow(waits), queues=ONE) as life:
        first, second = [await life.submit("flow", queue="slow") for _ in range(2)]
        other = await life.submit("flow")
        await until_waiting(life, first)  # and keeps its place, for a branch of it may be at work
        await until_waiting(life, other)
        assert await status(life, second) == "queued"
        views = {view.queue: view for view in await life.core.queues()}
        assert (views["slow"].running, views["slow"].queued, views["slow"].concurrency) == (1, 1, 1)
        assert views["slow"].oldest == life.events(second)[0][0].time
        assert (views[DEFAULT].running, views[DEFAULT].queued, views[DEFAULT].concurrency) == (1, 0, None)
        await life.core.signal(second, "go", {}, life.user)  # is kept
        await life.core.signal(first, "go", {}, life.user)
        assert (await life.finish(second)).status == "completed"
        assert [event.decision for event, _ in life.events(second, Kind.RUN_STARTED)] == ["slow"]
        assert not life.events(second, Kind.RUN_RESUMED)


async def test_the_default_queue_may_have_limits(live: Any) -> None:
    async with live(flow(waits), queues={DEFAULT: QueueLimits(concurrency=1)}) as life:
        first, second = await life.submit("flow"), await life.submit("flow", queue=DEFAULT)
        await until_waiting(life, first)
        assert await status(life, second) == "queued"


async def test_a_queue_that_nobody_declared(live: Any) -> None:
    async with live(flow(at_once), queues=ONE) as life:
        with pytest.raises(SettingsError, match=r"no queue 'fast'; name one of: default, slow"):
            await life.submit("flow", queue="fast")
        assert await life.core.runs(5) == []


async def test_a_queued_run_ends_at_once_when_it_is_cancelled(live: Any) -> None:
    async with live(flow(waits), queues=ONE) as life:
        first, second, third = [await life.submit("flow", queue="slow") for _ in range(3)]
        watched = asyncio.ensure_future(life.finish(second))
        await asyncio.sleep(0)
        await life.core.cancel(second, life.user, "not needed")
        assert (await watched).status == "cancelled"
        assert not life.events(second, Kind.RUN_STARTED)
        await life.core.cancel(first, life.user, "")
        await until_waiting(life, third)


async def test_a_paused_run_is_out_of_its_queue_until_it_is_resumed(live: Any) -> None:
    async with live(flow(waits), queues=ONE) as life:
        first, second, third = [await life.submit("flow", queue="slow") for _ in range(3)]
        await life.core.pause(second, life.user, "")
        await life.core.pause(first, life.user, "")
        await until_waiting(life, third)
        assert [await status(life, each) for each in (first, second)] == ["paused", "paused"]
        for each in (second, first):
            await life.core.resume(each)
        assert [await status(life, each) for each in (first, second)] == ["queued", "queued"]
        await life.core.cancel(third, life.user, "")
        await until_waiting(life, first)  # for it was started before
        assert await status(life, second) == "queued"


async def test_after_a_restart_what_was_started_comes_before_what_was_not(live: Any) -> None:
    two = {"slow": QueueLimits(concurrency=2, tenant_concurrency=1)}
    async with live(flow(waits), queues=two) as life:
        first = await life.submit("flow", queue="slow")
        second = await life.submit("flow", queue="slow")
        neighbour = replace(life.user, tenant="other")
        third = await life.core.submit(Submission(task="a task", workflow="flow", queue="slow"), neighbour)
        await until_waiting(life, first)
        await until_waiting(life, third)
    async with live(flow(waits), queues=ONE) as life:
        assert await status(life, second) == "interrupted"
        await life.core.pause(first, life.user, "")
        assert await life.core.resume() == [second, third]
        await until_waiting(life, third)
        assert await status(life, second) == "queued"


async def test_a_restart_forgets_no_start(live: Any) -> None:
    rate = {"slow": QueueLimits(per_minute=1)}
    async with live(flow(at_once), queues=rate) as life:
        assert (await life.run("flow", queue="slow")).status == "completed"
        assert len(life.core.ledger.reader.starts(datetime.now(UTC) - timedelta(minutes=1))) == 1
        assert life.core.ledger.reader.starts(datetime.now(UTC)) == []
    async with live(flow(at_once), queues=rate) as life:
        second = await life.submit("flow", queue="slow")
        assert await status(life, second) == "queued"
    async with live(flow(at_once)) as life:  # the queue is gone
        view = await life.resume(second)
        assert (view.status, view.queue) == ("parked", "slow")
        assert "'slow' is not declared" in view.outcome
    async with live(flow(at_once), queues=ONE) as life:
        assert (await life.resume(second)).status == "completed"


async def test_children_take_no_place(live: Any) -> None:
    async def parent(run: Run) -> Any:
        return await run.child("flow", "a part of it")

    for limits in ({DEFAULT: QueueLimits(concurrency=1, per_minute=1)}, {}):
        async with live(flow(parent, "parent"), flow(at_once), queues=limits) as life:
            if limits:
                assert (await life.run("parent")).status == "completed"
            assert len(life.core.ledger.reader.starts(datetime.now(UTC) - timedelta(minutes=1))) == 1


async def test_a_child_does_not_go_before_its_parent(live: Any) -> None:
    async def parent(run: Run) -> Any:
        return await run.child("flow", "a part of it")

    workflows = (flow(parent, "parent"), flow(waits))
    async with live(*workflows) as life:
        runs = [await life.submit("parent", queue=DEFAULT) for _ in range(2)]
        children = [f"{run}-1" for run in runs]
        while not all(each in life.core.conductor.live for each in children):
            await asyncio.sleep(0.005)
    async with live(*workflows, queues={DEFAULT: QueueLimits(concurrency=1)}) as life:
        await life.core.resume()
        await until_waiting(life, children[0])
        assert set(life.core.conductor.tasks) == {runs[0], children[0]}
        for child in children:
            await life.core.signal(child, "go", {}, life.user)
        assert [(await life.finish(run)).status for run in runs] == ["completed", "completed"]


async def test_a_parked_run_gives_its_place_back(live: Any, site: Any) -> None:
    async def stuck(run: Run) -> Any:
        return await run.call("ops.no_such_tool")

    async with live(flow(stuck, "stuck"), flow(at_once), queues=ONE) as life:
        first = await life.submit("stuck", queue="slow")
        second = await life.submit("flow", queue="slow")
        assert (await life.finish(second)).status == "completed"
        assert await status(life, first) == "parked"

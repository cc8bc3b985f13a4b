"""Schedules: each time fires once, whatever dies, is down or goes back; and what cannot be set up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import ScheduleSpec
from runtime.settings import QueueLimits
from store.records.errors import Denied, SettingsError
from store.records.kinds import Kind

MONDAY = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


class Days(BaseModel):
    """How many days a report is about."""

    days: int


def flow(function: Callable[..., Awaitable[Any]], name: str = "flow") -> Workflow:
    return Workflow(name, 1, function, None, ())


async def said(run: Run) -> str:
    return run.task


async def report(run: Run, days: Days) -> str:
    return f"{days.days} days"


def spec(name: str = "daily", **more: Any) -> ScheduleSpec:
    given = {"cron": "0 6 * * 1-5", "zone": "Europe/Zurich", "workflow": "flow", "task": "the report", **more}
    return ScheduleSpec(name=name, **given)


def set_clock(life: Any, now: datetime) -> None:
    life.core.schedules.clock = lambda: now


async def fire(life: Any, now: datetime) -> list[str]:
    """Let the clock be at a time, and fire what is due then; the ids of the runs there are, oldest first."""
    set_clock(life, now)
    await life.core.schedules.fire()
    return [each.run for each in await life.core.runs(50)][::-1]


def told(life: Any, run: str) -> dict[str, Any]:
    """What the submission says of the schedule."""
    found: dict[str, Any] = life.events(run, Kind.RUN_SUBMITTED)[0][1]["schedule"]
    return found


async def test_a_schedule_fires_at_its_time_on_behalf_of_whoever_set_it_up(live: Any) -> None:
    async with live(flow(said), queues={"slow": QueueLimits(concurrency=1)}) as life:
        set_clock(life, MONDAY)
        ann = replace(life.user, name="ann")
        view = await life.core.add_schedule(spec(queue="slow"), ann)
        assert (view.next, view.last, view.run, view.by) == ("2026-11-23T06:00+01:00", "", "", "ann")
        assert await fire(life, MONDAY + timedelta(minutes=59)) == []
        [run] = await fire(life, MONDAY + timedelta(minutes=60))
        assert await fire(life, MONDAY + timedelta(minutes=61)) == [run]
        found = await life.finish(run)
        assert (found.status, found.outcome, found.principal, found.queue) == ("completed", "the report", "ann", "slow")
        at = "2026-11-23T05:00:00+00:00"
        assert told(life, run) == {"name": "daily", "due": at, "since": at, "late_s": 0}
        [view] = await life.core.list_schedules(ann)
        assert (view.next, view.last, view.run) == ("2026-11-24T06:00+01:00", "2026-11-23T06:00+01:00", run)
        assert await life.core.list_schedules(replace(ann, tenant="other")) == []
        [event] = life.core.ledger.events(kinds=[Kind.SCHEDULE_SET])
        assert (event.principal, event.decision, event.workflow) == ("ann", "daily", "flow")
        assert life.events(run)[0][0].cause == event.seq


async def test_what_a_downtime_missed_is_made_up_for_by_one_run(live: Any) -> None:
    async with live(flow(said)) as life:
        set_clock(life, MONDAY)
        await life.core.add_schedule(spec(), life.user)
        [first] = await fire(life, MONDAY + timedelta(hours=1))
    async with live(flow(said)) as life:
        assert await fire(life, MONDAY + timedelta(hours=2)) == [first]
        [_, second] = await fire(life, MONDAY + timedelta(days=4, hours=3))
        assert told(life, second) == {
            "name": "daily",
            "due": "2026-11-27T05:00:00+00:00",
            "since": "2026-11-24T05:00:00+00:00",
            "late_s": 7200,
        }
        assert await fire(life, MONDAY + timedelta(days=5)) == [first, second]


@pytest.mark.parametrize("written", [False, True])
async def test_a_core_that_dies_while_it_fires_neither_forgets_nor_repeats(live: Any, written: bool) -> None:
    class Died(Exception):
        """The core is gone."""

    async with live(flow(said)) as life:
        set_clock(life, MONDAY)
        await life.core.add_schedule(spec(), life.user)
        append = life.core.ledger.append

        def dies(*arguments: Any) -> Any:
            if written:
                append(*arguments).wait()
            raise Died

        life.core.ledger.append = dies
        with pytest.raises(Died):
            await fire(life, MONDAY + timedelta(hours=1))
        life.core.ledger.append = append
    async with live(flow(said)) as life:
        [run] = await fire(life, MONDAY + timedelta(hours=1, minutes=5))
        assert told(life, run)["late_s"] == (0 if written else 300)
        await life.core.resume()
        assert (await life.finish(run)).status == "completed"


async def test_a_clock_that_jumps_back_fires_nothing_twice(live: Any) -> None:
    async with live(flow(said)) as life:
        set_clock(life, MONDAY)
        await life.core.add_schedule(spec(cron="0 * * * *"), life.user)
        [first] = await fire(life, MONDAY + timedelta(hours=1))
        assert await fire(life, MONDAY - timedelta(hours=4.5)) == [first]
        assert await fire(life, MONDAY + timedelta(hours=1)) == [first]
        await life.core.change_schedule("daily", "remove", life.user)
        set_clock(life, MONDAY)
        await life.core.add_schedule(spec(cron="0 * * * *"), life.user)
        assert await fire(life, MONDAY + timedelta(hours=1)) == [first]
        assert len(await fire(life, MONDAY + timedelta(hours=2))) == 2


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("fired", [False, True])
async def test_what_was_set_up_or_fired_while_the_clock_was_ahead_goes_on_when_it_is_set_back(
    live: Any, restarted: bool, fired: bool
) -> None:
    ahead, hour = MONDAY + timedelta(days=365), timedelta(hours=1)
    async with live(flow(said)) as life:
        set_clock(life, ahead)
        await life.core.add_schedule(spec(cron="0 * * * *", zone="UTC"), life.user)
        before = await fire(life, ahead + hour) if fired else []
        if not restarted:
            assert await fire(life, MONDAY + 0.5 * hour) == before
            await goes_on(life, before)
    if restarted:
        async with live(flow(said)) as life:
            await goes_on(life, before)


async def goes_on(life: Any, before: list[str]) -> None:
    """The clock was set back to Monday; hours count from there, and those that fired do not again."""
    hour, ahead = timedelta(hours=1), MONDAY + timedelta(days=365)
    assert await fire(life, MONDAY + 0.6 * hour) == before
    set_clock(life, MONDAY + 0.6 * hour)
    [view] = await life.core.list_schedules(life.user)
    assert view.next == "2026-11-23T05:00+00:00"
    for passed in (1.1, 1.2, 2.1):
        runs = await fire(life, MONDAY + passed * hour)
    added = [run for run in runs if run not in before]
    assert [told(life, run)["due"] for run in added] == ["2026-11-23T05:00:00+00:00", "2026-11-23T06:00:00+00:00"]
    assert told(life, added[0])["since"] == told(life, added[0])["due"]
    assert len(await fire(life, ahead + 1.5 * hour)) == 3  # the one that fired then, or one for all since


async def test_a_clock_that_falls_back_for_a_moment_makes_nothing_due_again(live: Any) -> None:
    minute = timedelta(minutes=1)
    async with live(flow(said)) as life:
        set_clock(life, MONDAY + 30 * minute)
        await life.core.add_schedule(spec(cron="0 * * * *"), life.user)
        assert await fire(life, datetime(1970, 1, 1, 0, 30, tzinfo=UTC)) == []
        assert await fire(life, MONDAY + 31 * minute) == []
        assert len(await fire(life, MONDAY + 61 * minute)) == 1


async def test_paused_resumed_and_removed_across_restarts(live: Any) -> None:
    hour = timedelta(hours=1)
    async with live(flow(said)) as life:
        set_clock(life, MONDAY)
        for name in ("a", "b", "c"):
            await life.core.add_schedule(spec(name, cron="30 * * * *"), life.user)
        await life.core.change_schedule("a", "pause", life.user)
        await life.core.change_schedule("c", "remove", life.user)
    async with live(flow(said)) as life:
        [run] = await fire(life, MONDAY + hour)
        assert told(life, run)["name"] == "b"
        [paused, other] = await life.core.list_schedules(life.user)
        assert (paused.paused, paused.next, other.paused) == (True, "", False)
        set_clock(life, MONDAY + 3 * hour)
        await life.core.change_schedule("a", "resume", life.user)
        with pytest.raises(SettingsError, match="not paused"):
            await life.core.change_schedule("a", "resume", life.user)
    async with live(flow(said)) as life:
        runs = await fire(life, MONDAY + 3.25 * hour)
        assert [told(life, each)["name"] for each in runs] == [
            "b",
            "b",
        ]  # what a missed in its pause is not made up for
        runs = await fire(life, MONDAY + 3.75 * hour)
        assert sorted(told(life, each)["name"] for each in runs) == ["a", "b", "b", "b"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"name": "daily"}, "there is a schedule 'daily'"),
        ({"name": "my schedule"}, "no name for a schedule"),
        ({"cron": "0 6 * *"}, "no cron expression"),
        ({"zone": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        ({"workflow": "flaw"}, "no workflow 'flaw'; name one of: flow, report"),
        ({"queue": "fast"}, "no queue 'fast'"),
        ({"task": ""}, "the task of a run is not usable: string should have"),
        ({"workflow": "report", "input": {"days": "few"}}, "the input does not fit: days"),
    ],
)
async def test_what_cannot_be_set_up(live: Any, more: dict[str, Any], named: str) -> None:
    async with live(flow(said), flow(report, "report")) as life:
        set_clock(life, MONDAY)
        await life.core.add_schedule(spec(), life.user)
        with pytest.raises(SettingsError) as caught:
            await life.core.add_schedule(spec(**{"name": "new", **more}), life.user)
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(life.core.ledger.events(kinds=[Kind.SCHEDULE_SET])) == 1


async def test_who_may_change_a_schedule(live: Any) -> None:
    async with live(flow(said)) as life:
        await life.core.add_schedule(spec(), life.user)
        eve, bob = (
            replace(life.user, name="eve", roles=("requester",)),
            replace(life.user, name="bob", roles=("admin",)),
        )
        with pytest.raises(Denied, match="eve may not"):
            await life.core.change_schedule("daily", "remove", eve)
        with pytest.raises(SettingsError, match="no schedule"):
            await life.core.change_schedule("daily", "remove", replace(bob, tenant="other"))
        await life.core.change_schedule("daily", "remove", bob)
        [event] = life.core.ledger.events(kinds=[Kind.SCHEDULE_REMOVED])
        assert (event.principal, event.decision) == ("bob", "daily")


async def test_a_workflow_that_is_gone_parks_what_fires(live: Any) -> None:
    async with live(flow(said)) as life:
        set_clock(life, MONDAY)
        await life.core.add_schedule(spec(), life.user)
    async with live(flow(report, "report")) as life:
        [run] = await fire(life, MONDAY + timedelta(hours=1))
        view = await life.finish(run)
        assert (view.status, "not installed" in view.outcome) == ("parked", True)


async def test_it_ticks_by_itself_and_wakes_when_schedules_change(live: Any) -> None:
    """The clock says that it is a tenth of a second before six; nobody waits for minutes."""
    async with live(flow(said)) as life:
        loop = asyncio.get_running_loop()
        begun, start = loop.time(), MONDAY + timedelta(minutes=59, seconds=59.9)
        life.core.schedules.clock = lambda: start + timedelta(seconds=loop.time() - begun)
        life.core.schedules.start()
        await asyncio.sleep(0)
        await life.core.add_schedule(spec(), life.user)
        while not (runs := await life.core.runs(5)):
            await asyncio.sleep(0.01)
        assert (await life.finish(runs[0].run)).status == "completed"


async def test_a_disk_that_takes_nothing_leaves_what_is_due_due(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with live(flow(said)) as life:
        set_clock(life, MONDAY)
        await life.core.add_schedule(spec(), life.user)

        async def full(*_: Any) -> None:
            raise SettingsError("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(life.core.conductor, "begin", full)
            with pytest.raises(SettingsError):
                await fire(life, MONDAY + timedelta(hours=1))
        [run] = await fire(life, MONDAY + timedelta(hours=1, minutes=1))
        assert told(life, run)["due"] == "2026-11-23T05:00:00+00:00"


async def test_an_event_that_cannot_be_read_stops_no_core(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from store.ledger.ledger import Ledger

    async with live(flow(said)) as life:
        set_clock(life, MONDAY)
        for name in ("a", "b"):
            await life.core.add_schedule(spec(name), life.user)
        lost = life.core.ledger.events(kinds=[Kind.SCHEDULE_SET])[0].payload
    read = Ledger.payload

    def shredded(self: Ledger, id: str) -> Any:
        if id == lost:
            raise SettingsError("its key was destroyed")
        return read(self, id)

    monkeypatch.setattr(Ledger, "payload", shredded)
    async with live(flow(said)) as life:
        assert [each.schedule.name for each in await life.core.list_schedules(life.user)] == ["b"]

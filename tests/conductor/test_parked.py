"""What is parked: tried again by every start, and by itself if something was away; silent until it has news."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from runtime.conductor.retries import BASE_S, LONGEST_S, Retries
from runtime.contract.run import Run
from runtime.contract.values import Backoff
from runtime.contract.workflow import Workflow
from store.records.canonical import Json
from store.records.errors import Unreachable
from store.records.kinds import Kind
from tools.record import ToolRecord
from tools.toolset import Outcome, Toolset

from .conftest import Site, toolset


def flow(function: Callable[..., Any], version: int = 1) -> Workflow:
    return Workflow("flow", version, function, None, ())


class Flaky(Toolset):
    """Tools whose server is away while the site says so, and counts who asks."""

    def __init__(self, site: Site) -> None:
        self._inner, self._site = toolset(site), site

    async def open(self) -> None:
        await self._inner.open()

    async def records(self) -> list[ToolRecord]:
        return await self._inner.records()

    async def call(self, name: str, arguments: dict[str, Json], timeout_s: float) -> Outcome:
        if self._site.trouble.get("server"):
            self._site.trouble["asked"] = [*self._site.trouble.get("asked", []), name]
            raise Unreachable("the tool server did not start again in 20 s", name, "see its stderr")
        return await self._inner.call(name, arguments, timeout_s)

    async def close(self) -> None:
        await self._inner.close()


def asked(site: Site) -> int:
    """How often a server that is away was asked."""
    return len(site.trouble.get("asked", []))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


async def reading(run: Run) -> Json:
    await run.now()
    found = await run.call("ops.list_services")
    return list(found.services)


async def doubtful(run: Run) -> None:
    run.stage("ops.set_dependency", service="orders", dependency="gateway")
    await run.review()
    await run.commit()


async def dead(run: Run) -> None:
    await run.retry(lambda: run.call("ops.list_services"), Backoff(attempts=1))


async def test_a_run_whose_tool_is_away_is_tried_again_until_it_is_back(live: Any, site: Site) -> None:
    site.trouble["server"] = ["away"]
    async with live(flow(reading), tools=Flaky) as life:
        view = await life.run("flow")
        assert (view.status, view.error) == ("parked", "Unreachable")
        assert view.again_in_s is not None
        assert 0 <= view.again_in_s <= BASE_S
        parked = [event.kind for event, _ in life.events(view.run)]
        life.core.conductor.retries.draw = lambda _most: 0.0
        await life.core.resume()
        await until(lambda: asked(site) > 5)
        await life.core.ledger.flushed()
        assert [event.kind for event, _ in life.events(view.run)] == parked
        del site.trouble["server"]
        await until(lambda: bool(life.events(view.run, Kind.RUN_ENDED)))
        view = await life.finish(view.run)
        assert (view.status, view.again_in_s) == ("completed", None)
        after = [event.kind for event, _ in life.events(view.run)][len(parked) :]
        assert after == [Kind.RUN_RESUMED, Kind.STEP_COMPLETED, Kind.RUN_ENDED]
        _, (ruling, _), (step, _) = life.events(view.run, Kind.DECISION, Kind.STEP_COMPLETED)
        assert step.cause == ruling.seq, "the first ruling stands"
        assert (await life.core.queries.verify()).ok


async def test_a_restart_goes_on_trying(live: Any, site: Site) -> None:
    site.trouble["server"] = ["away"]
    async with live(flow(reading), tools=Flaky) as life:
        run = (await life.run("flow")).run
    async with live(flow(reading), tools=Flaky) as life:
        life.core.conductor.retries.draw = lambda _most: 0.0
        await life.core.resume()
        del site.trouble["server"]
        await until(lambda: bool(life.events(run, Kind.RUN_ENDED)))


@pytest.mark.parametrize(
    ("function", "trouble", "status"),
    [
        (reading, {"server": ["away"]}, "unreachable"),
        (doubtful, {"set_dependency": ["lost"]}, "indoubt"),
        (dead, {"list_services": ["no"]}, "deadletter"),
    ],
)
async def test_ten_starts_that_change_nothing_add_no_event(
    live: Any, site: Site, function: Callable[..., Any], trouble: dict[str, list[str]], status: str
) -> None:
    site.trouble |= trouble
    async with live(flow(function), tools=Flaky) as life:
        run = (await life.run("flow")).run
        before = [event for event, _ in life.events(run)]
        assert (before[-1].kind, before[-1].decision) == (Kind.RUN_PARKED, status)
    for _ in range(10):
        async with live(flow(function), tools=Flaky) as life:
            assert await life.core.resume() == [run]
            assert (await life.finish(run)).status == "parked"
            assert [event for event, _ in life.events(run)] == before
    assert len(site.effects()) == 0


async def test_what_parks_a_run_for_another_reason_is_told(live: Any, site: Site) -> None:
    site.trouble["server"] = ["away"]
    async with live(flow(reading), tools=Flaky) as life:
        run = (await life.run("flow")).run
        before = life.events(run)
    for _ in range(3):
        async with live(flow(reading, version=2), tools=Flaky) as life:
            await life.core.resume()
            view = await life.finish(run)
            assert (view.status, view.error, view.again_in_s) == ("parked", "Missing", None)
            (told, _), *more = life.events(run)[len(before) :]
            assert (told.kind, told.decision, more) == (Kind.RUN_PARKED, "missing", [])


async def test_a_doubt_is_not_tried_again_by_itself(live: Any, site: Site) -> None:
    site.trouble["set_dependency"] = ["lost"]
    async with live(flow(doubtful)) as life:
        view = await life.run("flow")
        assert (view.status, view.error, view.again_in_s) == ("parked", "InDoubt", None)


async def test_somebody_who_asks_for_a_parked_run_is_on_record(live: Any, site: Site) -> None:
    site.trouble["server"] = ["away"]
    async with live(flow(reading), tools=Flaky) as life:
        life.core.conductor.retries.draw = lambda most: most
        run = (await life.run("flow")).run
        before = life.events(run)
        await life.core.resume(run)
        await life.finish(run)
        assert [event.kind for event, _ in life.events(run)[len(before) :]] == [Kind.RUN_RESUMED, Kind.RUN_PARKED]


@pytest.mark.parametrize("stop", ["pause", "cancel"])
async def test_who_stops_a_parked_run_ends_its_tries(live: Any, site: Site, stop: str) -> None:
    site.trouble["server"] = ["away"]
    async with live(flow(reading), tools=Flaky) as life:
        life.core.conductor.retries.draw = lambda _most: 0.05
        run = (await life.run("flow")).run
        await getattr(life.core, stop)(run, life.user, "enough")
        tries = asked(site)
        await asyncio.sleep(0.15)
        assert (await life.core.run(run)).status == {"pause": "paused", "cancel": "cancelled"}[stop]
        assert asked(site) <= tries + 1
        assert life.core.conductor.retries.of(run) is None


async def test_a_run_that_was_paused_while_it_was_tried_stays_so(live: Any, site: Site) -> None:
    site.trouble["server"] = ["away"]
    async with live(flow(reading), tools=Flaky) as life:
        run = (await life.run("flow")).run
    async with live(flow(reading), tools=Flaky) as life:
        await life.core.resume()
        await life.core.conductor.begun(run)
        await life.core.pause(run, life.user, "enough")
        assert (await life.finish(run)).status == "paused"
        assert await life.core.resume() == []


async def test_a_parent_goes_on_when_its_child_does(live: Any, site: Site) -> None:
    async def parent(run: Run) -> Json:
        return await run.child("flow", "a part")

    site.trouble["server"] = ["away"]
    whole = Workflow("whole", 1, parent, None, ())
    async with live(flow(reading), whole, tools=Flaky) as life:
        life.core.conductor.retries.draw = lambda _most: 0.0
        run = (await life.run("whole")).run
        await until(lambda: asked(site) > 3)
        await life.core.ledger.flushed()
        assert len(life.events(run, Kind.RUN_PARKED)) == len(life.events(f"{run}-1", Kind.RUN_PARKED)) == 1
        del site.trouble["server"]
        await until(lambda: bool(life.events(run, Kind.RUN_ENDED)))
        assert life.value(run) == ["gateway", "orders"]


async def test_pauses_grow_up_to_a_limit_and_begin_anew_when_a_run_gets_further() -> None:
    most: list[float] = []

    def longest(pause: float) -> float:
        most.append(pause)
        return pause

    retries = Retries(lambda _run: None, longest)
    for steps in [3] * 12 + [4, 4]:
        retries.put_off("r1", Unreachable("away"), steps)
        retries.begun("r1")
    assert most == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, LONGEST_S, LONGEST_S, LONGEST_S, 1.0, 2.0]
    found = retries.of("r1")
    assert found is not None
    assert 1.0 < found[0] <= 2.0
    retries.close()
    assert retries.of("r1") is None
    assert all(0 <= Retries(lambda _run: None).draw(8.0) <= 8.0 for _ in range(50))

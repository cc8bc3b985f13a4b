"""Runs that are brought back together: each with all that is on record of it, and none with another's damage."""

import asyncio
from typing import Any

import duckdb
from pydantic import BaseModel

from runtime.conductor.past import own
from runtime.conductor.pasts import Pasts
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from store.records.errors import IntegrityError
from store.records.kinds import Kind


class Go(BaseModel):
    """What the signal says."""

    to: str


async def heard(run: Run) -> str:
    """What a signal said."""
    await run.now()
    return (await run.wait("go", Go)).to


FLOW = Workflow("flow", 1, heard, None, ())


async def left_open(live: Any, count: int) -> list[str]:
    """Runs that were waiting when their core died."""
    async with live(FLOW) as life:
        runs = [await life.submit("flow") for _ in range(count)]
        for run in runs:
            while not life.events(run, Kind.WAIT_BEGUN):
                await asyncio.sleep(0.005)
    return runs


async def test_what_is_read_together_is_what_is_on_record_of_each(live: Any) -> None:
    runs = await left_open(live, 4)
    async with live(FLOW) as life:
        ledger, recorder = life.core.ledger, life.core.conductor.services.recorder
        pasts = recorder.pasts = Pasts(ledger)
        pasts.expect(ledger.open_runs())
        assert pasts.take(runs[0]) == own(ledger, runs[0])
        assert pasts.take(runs[0]) is None  # it is driven now
        await life.core.signal(runs[1], "go", {"to": "a"}, life.user)
        assert pasts.take(runs[1]) is None  # what was read lacks the signal
        assert pasts.take(runs[2]) == own(ledger, runs[2])
        assert pasts.take("r0") is None


async def test_a_run_that_is_expected_is_read_after_what_was_said_to_it(live: Any) -> None:
    runs = await left_open(live, 2)
    async with live(FLOW) as life:
        pasts = life.core.conductor.services.recorder.pasts = Pasts(life.core.ledger)
        pasts.expect(life.core.ledger.open_runs())
        await life.core.signal(runs[1], "go", {"to": "a"}, life.user)
        assert pasts.take(runs[0]) is not None
        assert pasts.take(runs[1]) is None


async def test_a_signal_reaches_a_run_that_waits_for_its_place_after_a_start(live: Any) -> None:
    runs = await left_open(live, 2)
    async with live(FLOW, queues={"default": {"concurrency": 1}}) as life:
        await life.core.resume()
        for run in reversed(runs):
            await life.core.signal(run, "go", {"to": run}, life.user)
        for run in runs:
            assert (await life.finish(run)).status == "completed"
            assert life.value(run) == run


async def test_damage_of_one_run_is_no_other_runs(live: Any, site: Any) -> None:
    runs = await left_open(live, 3)
    async with live(FLOW) as life:
        lost = life.events(runs[1], Kind.STEP_COMPLETED)[0][0].payload
    with duckdb.connect(str(site.folder / "ledger.duckdb")) as connection:
        connection.execute("UPDATE payloads SET data = 'x'::BLOB WHERE id = ?", [lost])
    async with live(FLOW) as life:
        await life.core.resume()
        for run in (runs[0], runs[2]):
            await life.core.signal(run, "go", {"to": "a"}, life.user)
            assert (await life.finish(run)).status == "completed"
        await life.core.conductor.ended(runs[1])
        parked = life.core.ledger.run_events(runs[1])[-1]
        assert (parked.kind, parked.decision) == (Kind.RUN_PARKED, IntegrityError.__name__.lower())

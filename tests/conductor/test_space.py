"""The watermark of free space: what is open comes to its end, what is new is refused in one line."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from store.records.errors import Unreachable
from store.records.kinds import Kind

MORE_THAN_ANY_DISK = 2**40


class Go(BaseModel):
    on: bool


async def look(run: Run) -> str:
    await run.now()
    return "seen"


async def parent(run: Run) -> str:
    await run.wait("go", Go)
    return str(await run.child("look", "look"))


FLOWS = (Workflow("look", 1, look, None, ()), Workflow("parent", 1, parent, None, ()))


async def test_below_the_watermark_no_run_starts_and_what_is_open_ends_with_its_children(live: Any) -> None:
    async with live(*FLOWS) as life:
        run = await life.submit("parent")
        while not life.events(run, Kind.WAIT_BEGUN, Kind.RUN_ENDED):
            await asyncio.sleep(0.005)
    async with live(*FLOWS, free_space_mb=MORE_THAN_ANY_DISK) as life:
        before = life.core.ledger.events(kinds=[Kind.RUN_SUBMITTED])
        with pytest.raises(Unreachable) as refused:
            await life.submit("look")
        line = str(refused.value)
        assert "no new run starts" in line
        assert str(life.core.ledger.folder) in line
        assert f"{MORE_THAN_ANY_DISK:,}" in line
        with pytest.raises(Unreachable, match="no new run starts"):
            await life.core.fork(run, "1", life.user)
        assert life.core.ledger.events(kinds=[Kind.RUN_SUBMITTED]) == before
        await life.core.resume()
        await life.core.signal(run, "go", {"on": True}, life.user)
        assert (await life.finish(run)).status == "completed"
        assert (life.value(run), (await life.core.run(f"{run}-2")).status) == ("seen", "completed")


async def test_with_room_runs_start(live: Any) -> None:
    async with live(*FLOWS, free_space_mb=0) as life:
        assert (await life.run("look")).status == "completed"

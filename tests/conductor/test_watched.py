"""A run watched from where there is no terminal: a question of it ends the watching, and leaves the run as it is."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from runtime import watching
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.desk import Desk
from runtime.gateway.messages import EventView
from runtime.watching import Watcher, console_of
from store.records.errors import Waiting
from store.records.kinds import Kind


class Level(BaseModel):
    """What is asked for."""

    level: int


class Here(Desk):
    """The verbs that a watcher needs, without a socket between."""

    async def follow(self, after: int = 0, run: str = "", payloads: bool = False) -> AsyncIterator[EventView]:
        """The events of a run, as they come, until it has ended."""
        while True:
            for view in await self.newer(after, run, 100, payloads, 0.05):
                after = view.event["seq"]
                yield view
                if view.event["kind"] == Kind.RUN_ENDED:
                    return


async def asks(run: Run) -> int:
    """Ask one person."""
    return (await run.input(Level, "How high\nis it?", to="approver")).level


async def asks_two(run: Run) -> int:
    """Ask two at once."""
    both = await run.gather(lambda: run.input(Level, "The left?"), lambda: run.input(Level, "The right?"))
    return sum(each.level for each in both)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a watcher look for questions more often than a person would care for."""
    monkeypatch.setattr(watching, "LOOK_AGAIN_S", 0.02)


def watcher(life: Any, approve: Any = "ask") -> Watcher:
    here: Any = Here(life.core, life.user)
    return Watcher(here, console_of(io.StringIO()), approve)


@pytest.mark.parametrize("approve", ["ask", "yes"])
async def test_a_question_ends_the_watching_in_every_life_of_the_run(live: Any, approve: Any) -> None:
    async with live(Workflow("flow", 1, asks, None, ())) as life:
        run = await life.submit("flow")
        with pytest.raises(Waiting) as first:
            await watcher(life, approve).watch(run)
        assert (first.value.what, first.value.where) == (f"run {run} asks: How high is it?", "for approver")
        assert first.value.do.startswith(f"`bailiwick runs answer {run} VALUE` answers it")
    async with live(Workflow("flow", 1, asks, None, ())) as life:
        before = life.core.ledger.last_seq()
        await life.core.resume(run)
        with pytest.raises(Waiting, match="asks: How high is it"):
            await watcher(life, approve).watch(run, before)
        await life.core.reply(run, "", {"level": 3}, life.user)
        assert (await watcher(life, approve).watch(run, before)).outcome == "3"


async def test_one_of_several_questions_is_named_by_its_step(live: Any) -> None:
    async with live(Workflow("flow", 1, asks_two, None, ())) as life:
        run = await life.submit("flow")
        with pytest.raises(Waiting) as told:
            await watcher(life).watch(run)
        question, _ = await life.core.questions()
        assert told.value.what.endswith("asks: The left?")
        assert f"VALUE --step {question.step}`" in told.value.do


async def test_whoever_only_looks_on_is_not_sent_away(live: Any) -> None:
    async with live(Workflow("flow", 1, asks, None, ())) as life:
        run = await life.submit("flow")
        looking = asyncio.ensure_future(watcher(life, None).watch(run))
        while not await life.core.questions():
            await asyncio.sleep(0.01)
        done, _ = await asyncio.wait([looking], timeout=0.2)
        assert not done
        await life.core.reply(run, "", {"level": 3}, life.user)
        assert (await looking).status == "completed"

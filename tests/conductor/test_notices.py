"""Whoever should look is told that something waits: an approval, a question, an effect in doubt. Never what it says."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.notices import NotifyBy
from store.records.kinds import Kind


class Reply(BaseModel):
    word: str


async def approves(run: Run) -> None:
    run.stage("ops.rollback_config", service="orders")
    await run.review()
    await run.commit()


async def asks(run: Run) -> str:
    return (await run.input(Reply, "What is the secret?", expires_s=3600.0)).word


async def doubts(run: Run) -> None:
    run.stage("ops.set_dependency", service="orders", dependency="gateway")
    await run.review()
    await run.commit()


FLOWS = tuple(Workflow(each.__name__, 1, each, None, ()) for each in (approves, asks, doubts))


@pytest.fixture
async def told(live: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """A core that tells a command, which keeps what it was told."""
    script = tmp_path / "tell.sh"
    script.write_text(f"#!/bin/sh\ncat >> {tmp_path}/said\necho >> {tmp_path}/said\n")
    script.chmod(0o700)
    notify = NotifyBy(command=(str(script),), gather_s=0.0)
    async with live(*FLOWS, notify=notify) as life:
        life.said = lambda: [
            each
            for line in ((tmp_path / "said").read_text() if (tmp_path / "said").exists() else "").split("\n")
            if line
            for each in json.loads(line)["waiting"]
        ]
        yield life


async def test_an_approval_is_told_of_by_name(told: Any) -> None:
    run = await told.submit("approves", task="a secret task")
    await told.until_waiting()
    (view,) = await told.core.waiting()
    while not told.said():
        await asyncio.sleep(0.005)
    (said,) = told.said()
    assert said == {
        "kind": "approval",
        "id": view.approval,
        "run": run,
        "workflow": "approves",
        "tool": "ops.rollback_config",
        "expires": view.expires,
    }


async def test_a_question_and_a_doubt_are_told_of_without_their_words(told: Any, site: Any) -> None:
    run = await told.submit("asks", task="a secret task")
    while not (questions := await told.core.questions()):
        await asyncio.sleep(0.005)
    site.trouble["set_dependency"] = ["lost"]
    view = await told.run("doubts")
    assert view.status == "parked"
    while len(told.said()) < 2:
        await asyncio.sleep(0.005)
    question, doubt = told.said()
    assert (question["kind"], question["id"], question["expires"]) == ("question", run, questions[0].due)
    assert (doubt["kind"], doubt["id"], doubt["tool"]) == ("in-doubt", view.run, "ops.set_dependency")
    assert "secret" not in json.dumps(told.said())


async def test_a_command_that_is_not_there_is_one_event_and_holds_up_nothing(live: Any, site: Any) -> None:
    async with live(*FLOWS, notify=NotifyBy(command=("/nowhere/tell",), gather_s=0.0)) as life:
        for _ in range(2):
            assert (await life.run("approves", answer=True)).status == "completed"
        life.core._notifier.close()
        await life.core.ledger.flushed()
        (event,) = life.core.ledger.events(kinds=[Kind.NOTIFYING_CHANGED], limit=10)
        assert event.decision == "failed"
        assert "cannot be started" in life.core.ledger.payload(event.payload)["reason"]
    assert len(site.effects()) == 2

"""Several people: as many as policy asks for, each once, not who asked, by the digest of what they were shown."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime.conductor.request import approval_id
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gate.ages import Ages
from runtime.gateway.messages import Answer
from store.records.canonical import digest
from store.records.errors import Denied, SettingsError
from store.records.identity import User
from store.records.kinds import Kind

ANN = User("ann", 2001, "local", "ops", ("requester", "approver"))
BOB = User("bob", 2002, "local", "ops", ("approver",))
CARL = User("carl", 2003, "local", "ops", ("approver",))
EVE = User("eve", 2004, "local", "ops", ("requester",))
SITE = """
@id("all") permit (principal, action, resource);
@id("approval:two") @approvers("2") @reason("Two pairs of eyes.")
forbid (principal, action == Action::"ops.rollback_config", resource);
@id("approval:other") @distinct("requester")
forbid (principal, action in [Action::"ops.move", Action::"ops.rollback_config"], resource);
"""
BOUND = (
    "tool", "tool_version", "tool_digest", "arguments", "policy", "policies", "user", "agent", "workflow",
    "workflow_version", "labels", "reviewed", "key",
)  # fmt: skip


async def rolls_back(run: Run) -> str:
    run.stage("ops.rollback_config", service="orders")
    await run.review()
    await run.commit()
    return "done"


async def moves(run: Run) -> str:
    run.stage("ops.move", what="1", to="b")
    await run.review()
    await run.commit()
    return "done"


FLOWS = (Workflow("rolls_back", 1, rolls_back, None, ()), Workflow("moves", 1, moves, None, ()))


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """A policy set with two approval policies, one of which asks for two people."""
    folder = tmp_path / "rules"
    folder.mkdir(mode=0o700)
    (folder / "site.cedar").write_text(SITE)
    return str(folder)


@pytest.fixture
def served(live: Any, rules: str) -> Callable[..., Any]:
    """A core of a site with several people on it."""
    return lambda **settings: live(*FLOWS, policy=rules, **settings)


def several(life: Any) -> None:
    """Let there be three approvers, as a directory would say it."""
    people = life.core.approvals.gate.people
    people.knows, people.sole = (lambda name, _: name in ("ann", "bob", "carl")), ""


async def asked(life: Any, workflow: str = "rolls_back", by: User = ANN) -> tuple[str, Any]:
    """A run of ann's that waits, and what it waits for."""
    from runtime.gateway.messages import Submission

    run = await life.core.submit(Submission(task="a task", workflow=workflow), by)
    await life.until_waiting()
    (view,) = [each for each in await life.core.waiting() if each.run == run]
    return run, view


def yes(view: Any, **more: Any) -> Answer:
    return Answer(**{"approval": view.approval, "yes": True, "meaning": "seen", "digest": view.digest[:8], **more})


async def test_two_others_must_agree_and_each_of_them_is_on_record(served: Any, site: Any) -> None:
    async with served() as life:
        several(life)
        run, view = await asked(life)
        assert (view.approvers, view.distinct, view.policies) == (2, True, ("approval:other", "approval:two"))
        with pytest.raises(Denied, match="policy wants another's word"):
            await life.core.answer(yes(view), ANN)
        await life.core.answer(yes(view, meaning="read the diff"), BOB)
        with pytest.raises(SettingsError, match="bob has said yes already"):
            await life.core.answer(yes(view), BOB)
        (left,) = await life.core.waiting()
        assert left.yes == ("bob",)
        assert site.effects() == []
        await life.core.answer(yes(view), CARL)
        assert (await life.finish(run)).status == "completed"
        said = life.events(run, Kind.APPROVAL_ANSWERED)
        assert [(e.principal, e.decision, p["meaning"]) for e, p in said] == [
            ("bob", "yes", "read the diff"), ("carl", "yes", "seen"),
        ]  # fmt: skip
        ((_, intent),) = life.events(run, Kind.EFFECT_INTENT)
        assert intent["approvers"] == ["bob", "carl"]
    assert len(site.effects()) == 1


async def test_one_no_denies_at_once_whoever_agreed(served: Any, site: Any) -> None:
    async with served() as life:
        several(life)
        run, view = await asked(life)
        await life.core.answer(yes(view), BOB)
        await life.core.answer(Answer(approval=view.approval, yes=False, meaning="not today"), CARL)
        assert (await life.finish(run)).status == "denied"
        with pytest.raises(SettingsError, match="no such approval"):
            await life.core.answer(yes(view), CARL)
    assert site.effects() == []


async def test_one_yes_outlives_the_core_and_still_counts_once(served: Any, site: Any) -> None:
    async with served() as life:
        several(life)
        run, view = await asked(life)
        await life.core.answer(yes(view), BOB)
    async with served() as life:
        several(life)
        await life.core.resume(run)
        while not (waiting := await life.core.waiting()):
            await asyncio.sleep(0.005)
        assert (waiting[0].approval, waiting[0].yes) == (view.approval, ("bob",))
        with pytest.raises(SettingsError, match="said yes already"):
            await life.core.answer(yes(view), BOB)
        await life.core.answer(yes(view), CARL)
        assert (await life.finish(run)).status == "completed"
        assert len(life.events(run, Kind.APPROVAL_REQUESTED)) == 1
    assert len(site.effects()) == 1


async def test_who_is_no_approver_any_more_does_not_count(served: Any, site: Any) -> None:
    async with served() as life:
        several(life)
        run, view = await asked(life)
        await life.core.answer(yes(view), BOB)
        life.core.approvals.gate.people.knows = lambda name, _: name in ("ann", "carl")
        await life.core.answer(yes(view), CARL)
        assert [each.yes for each in await life.core.waiting()] == [("carl",)]
        await life.core.answer(Answer(approval=view.approval, yes=False), CARL)
        assert (await life.finish(run)).status == "denied"
    assert site.effects() == []


async def test_alone_on_a_machine_one_may_approve_what_one_asked_for_but_is_not_two(served: Any, site: Any) -> None:
    async with served() as life:
        run, view = await asked(life, "moves", life.user)
        await life.core.answer(yes(view), life.user)
        assert (await life.finish(run)).status == "completed"
        run, view = await asked(life, "rolls_back", life.user)
        await life.core.answer(yes(view), life.user)
        assert [each.yes for each in await life.core.waiting()] == [(life.user.name,)]
        await life.core.answer(Answer(approval=view.approval, yes=False), life.user)
        assert (await life.finish(run)).status == "denied"
    assert len(site.effects()) == 1


@pytest.mark.parametrize("given", ["", "0123456", "01234567", "id"])
async def test_a_yes_without_the_digest_of_what_is_shown_is_refused(served: Any, given: str) -> None:
    async with served() as life:
        several(life)
        _, view = await asked(life, "moves")
        wrong = {"id": view.approval[:8]}.get(given, given)
        with pytest.raises(SettingsError, match=rf"now it is ops\.move with {view.digest[:8]}"):
            await life.core.answer(yes(view, digest=wrong), BOB)
        assert len(await life.core.waiting()) == 1


async def test_what_is_shown_is_what_is_bound(served: Any) -> None:
    async with served() as life:
        several(life)
        run, view = await asked(life, "moves")
        plain = view.model_dump(mode="json")
        assert digest({name: plain[name] for name in BOUND}) == view.digest
        assert view.approval == approval_id(view.digest) != view.digest[:12]
        assert list(view.why) == ["approval:other"]
        assert "ops.move" in view.why["approval:other"]
        assert (view.user["name"], view.agent, view.workflow) == ("ann", ("rule", "1"), "moves")
        back = plain["compensation"]
        assert (back["tool"], back["arguments"]) == ("ops.move_back", {"what": "1", "undoes": f"{run}/3.1"})
        assert 86_000 < view.left_s <= 86_400
        ((_, record),) = life.events(run, Kind.APPROVAL_REQUESTED)
        said = {**plain, "binding": view.digest}  # the log has another name for it
        assert {name: said[name] for name in record} == record, "what is on record is what was shown"
        assert ("binding" in record, "binding" in plain) == (True, False)


async def test_it_is_listed_for_whom_it_concerns(served: Any) -> None:
    async with served() as life:
        several(life)
        await asked(life)
        seen = {user.name: [e.may_answer for e in await life.core.waiting(user)] for user in (ANN, BOB, EVE)}
        assert seen == {"ann": [False], "bob": [True], "eve": []}
        assert await life.core.waiting(replace(BOB, tenant="other")) == []
        with pytest.raises(Denied):
            await life.core.answer(yes((await life.core.waiting())[0]), EVE)


async def test_a_request_that_ran_out_while_the_clock_was_set_back_stays_so(served: Any, live: Any, site: Any) -> None:
    async with served() as life:
        several(life)
        run, _ = await asked(life, "moves")
        ((event, _),) = life.events(run, Kind.APPROVAL_REQUESTED)
    now = datetime.fromisoformat(event.time)
    later = (now + timedelta(hours=30)).isoformat()
    back = replace(event, seq=event.seq + 5, kind=Kind.CLOCK_SET_BACK, step=str(29 * 3600 * 1000))
    for ages in (
        Ages(event.epoch + 1, later, (), lambda: now + timedelta(hours=1)),  # nobody has recorded it yet
        Ages(event.epoch + 1, event.time, [back], lambda: now + timedelta(hours=1)),
        Ages(event.epoch + 1, event.time, (), lambda: now + timedelta(hours=30)),
    ):
        assert ages.of(event)() >= 29.9 * 3600
    assert Ages(event.epoch + 1, event.time, (), lambda: now + timedelta(hours=1)).of(event)() < 3700
    assert Ages(event.epoch, event.time, (), lambda: datetime(2020, 1, 1, tzinfo=UTC)).of(event)() < 60

"""Approvals: a person's word on exactly one call, which outlives the core, and expires."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Fallback, Workflow
from runtime.gateway.messages import Answer
from store.records.errors import Denied, SettingsError
from store.records.identity import User
from store.records.kinds import Kind

Function = Callable[..., Any]


def flow(function: Function, fallback: Fallback | None = None) -> Workflow:
    return Workflow("flow", 1, function, fallback, ())


def staging(*effects: tuple[str, dict[str, Any]], review: bool = True) -> Function:
    """A workflow that stages these effects and commits them."""

    async def function(run: Run) -> str:
        for tool, arguments in effects:
            run.stage(tool, **arguments)
        if review:
            await run.review()
        await run.commit()
        return "done"

    return function


RESTART = ("ops.restart_service", {"service": "orders"})


ROLLBACK = ("ops.rollback_config", {"service": "orders"})


MAIL = ("ops.send_mail", {"to": "all"})


async def test_a_yes_lets_the_effect_through_and_is_on_record(live: Any, site: Any) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        view = await life.run("flow", answer=True)
        assert view.status == "completed"
        (asked, request), (answered, answer) = life.events(view.run, Kind.APPROVAL_REQUESTED, Kind.APPROVAL_ANSWERED)
        assert request["arguments"] == {"service": "orders"}
        assert (answered.principal, answered.decision, answer["meaning"]) == (life.user.name, "yes", "seen")
        intent, payload = life.events(view.run, Kind.EFFECT_INTENT)[0]
        assert asked.seq < answered.seq < intent.seq
        assert payload["approvers"] == [life.user.name]
    assert len(site.effects()) == 1


@pytest.mark.parametrize("lives", [1, 2])
async def test_an_effect_leads_back_by_its_causes_to_the_word_of_policy_and_person(live: Any, lives: int) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        if lives == 1:
            await life.finish(run, answer=True)
    async with live(flow(staging(ROLLBACK))) as life:
        if lives == 2:
            await life.resume(run, answer=True)
        events = {event.seq: event for event, _ in life.events(run)}
    (event,) = [event for event in events.values() if event.kind == Kind.EFFECT_OUTCOME]
    told = []
    while event.cause:
        event = events[event.cause]
        told.append((event.kind, event.decision))
    assert told == [
        (Kind.EFFECT_INTENT, ""),
        (Kind.DECISION, "allow"),
        (Kind.DECISION, "suspend"),
        (Kind.APPROVAL_ANSWERED, "yes"),
        (Kind.APPROVAL_REQUESTED, ""),
        (Kind.DECISION, "suspend"),
    ]


async def test_an_answer_of_an_earlier_life_is_the_cause_of_what_it_lets_through(live: Any) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        life.dies_after(1)  # the answer gets to the disk, and nothing after it
        await life.finish(run, answer=True)
    async with live(flow(staging(ROLLBACK))) as life:
        assert (await life.resume(run)).status == "completed"
        ((answered, _),) = life.events(run, Kind.APPROVAL_ANSWERED)
        (first, _), (ruling, _), (word, _) = life.events(run, Kind.DECISION)
        assert [event.decision for event in (first, ruling, word)] == ["suspend", "suspend", "allow"]
        assert first.seq < answered.seq < ruling.seq, "what the first life was told stands, and is not told again"
        assert [event.cause for event in (first, ruling, word)] == [0, answered.seq, ruling.seq]


async def test_a_read_leads_back_to_the_policys_word(live: Any) -> None:
    async def reads(run: Run) -> None:
        await run.call("ops.list_services")

    async with live(flow(reads)) as life:
        view = await life.run("flow")
        (decision, _), (step, _) = life.events(view.run, Kind.DECISION, Kind.STEP_COMPLETED)
        assert (decision.decision, step.cause) == ("allow", decision.seq)


async def test_a_no_denies_the_whole_set(live: Any, site: Any) -> None:
    async with live(flow(staging(RESTART, ROLLBACK))) as life:
        assert (await life.run("flow", answer=False)).status == "denied"
    assert site.effects() == []


async def test_nobody_answers_in_time(live: Any, site: Any) -> None:
    async with live(flow(staging(ROLLBACK)), approval_expiry_s=0.01) as life:
        view = await life.run("flow")
        assert view.status == "denied"
        assert life.events(view.run, Kind.APPROVAL_ANSWERED)[0][0].principal == "expiry"
        assert await life.core.waiting() == []
    assert site.effects() == []


async def test_a_person_may_take_longer_than_the_run_may(live: Any, site: Any) -> None:
    async with live(flow(staging(ROLLBACK)), run_timeout_s=0.2) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        await asyncio.sleep(0.4)
        assert (await life.finish(run, answer=True)).status == "completed"
    assert len(site.effects()) == 1


async def test_asked_in_one_life_answered_in_the_next(live: Any, site: Any) -> None:
    async with live(flow(staging(RESTART, ROLLBACK))) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        (before,) = await life.core.waiting()
    async with live(flow(staging(RESTART, ROLLBACK))) as life:
        await life.core.resume(run)
        await life.until_waiting()
        (after,) = await life.core.waiting()
        assert (after.approval, after.digest) == (before.approval, before.digest)
        (asked, _), *_ = life.events(run, Kind.APPROVAL_REQUESTED)
        assert datetime.fromisoformat(after.since) == datetime.fromisoformat(asked.time)
        assert (await life.finish(run, answer=True)).status == "completed"
        assert len(life.events(run, Kind.APPROVAL_REQUESTED)) == 1
    assert len(site.effects()) == 2


async def test_a_request_expires_when_it_would_have_in_its_first_life(live: Any) -> None:
    async with live(flow(staging(ROLLBACK)), approval_expiry_s=0.5) as life:
        run = await life.submit("flow")
        await life.until_waiting()
    await asyncio.sleep(0.5)
    async with live(flow(staging(ROLLBACK)), approval_expiry_s=0.5) as life:
        await life.core.resume(run)
        view = await asyncio.wait_for(life.finish(run), 10)
        assert view.status == "denied"


@pytest.mark.parametrize("yes", [True, False])
async def test_answered_in_one_life_done_in_the_next(live: Any, site: Any, yes: bool) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        # started, staged, review, judged, asked are behind; the answer is the last thing on disk
        life.dies_after(1)
        await life.answer_all(yes)
        await life.finish(run)
        assert life.events(run)[-1][0].kind == Kind.APPROVAL_ANSWERED
    assert site.effects() == []
    async with live(flow(staging(ROLLBACK))) as life:
        assert (await life.resume(run)).status == ("completed" if yes else "denied")
    assert len(site.effects()) == int(yes)


async def test_a_yes_under_another_policy_is_void(live: Any, site: Any, tmp_path: Any) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        life.dies_after(1)
        await life.answer_all(True)
        await life.finish(run)
    rules = tmp_path / "rules"
    rules.mkdir()
    rules.joinpath("site.cedar").write_text(
        '@id("all") permit(principal, action, resource);\n'
        '@id("approval:all") forbid(principal, action in Action::"writes", resource);'
    )
    async with live(flow(staging(ROLLBACK)), policy=str(rules)) as life:
        await life.core.resume(run)
        await life.until_waiting()
        assert site.effects() == []
        assert (await life.finish(run, answer=False)).status == "denied"
        assert len(life.events(run, Kind.APPROVAL_REQUESTED)) == 2


async def test_of_two_answers_the_first_counts_and_the_second_is_refused(live: Any, site: Any) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        (entry,) = await life.core.waiting()
        both = [
            life.core.answer(Answer(approval=entry.approval, yes=yes, digest=entry.digest), life.user)
            for yes in (False, True)
        ]
        first, second = await asyncio.gather(*both, return_exceptions=True)
        assert first is None
        assert isinstance(second, SettingsError)
        assert (await life.finish(run)).status == "denied"
        assert len(life.events(run, Kind.APPROVAL_ANSWERED)) == 1
        with pytest.raises(SettingsError, match="no such approval is waiting"):
            await life.core.answer(Answer(approval=entry.approval, yes=True, digest=entry.digest), life.user)


async def test_an_answer_counts_even_if_whoever_gave_it_hangs_up(live: Any, site: Any) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        (entry,) = await life.core.waiting()
        answering = asyncio.ensure_future(
            life.core.answer(Answer(approval=entry.approval, yes=True, digest=entry.digest), life.user)
        )
        await asyncio.sleep(0)
        answering.cancel()
        assert (await asyncio.wait_for(life.finish(run), 10)).status == "completed"
    assert len(site.effects()) == 1


async def test_only_an_approver_may_answer(live: Any) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        await life.submit("flow")
        await life.until_waiting()
        (entry,) = await life.core.waiting()
        with pytest.raises(Denied, match="may not answer"):
            await life.core.answer(
                Answer(approval=entry.approval, yes=True, digest=entry.digest), User("eve", 1, "local", "x")
            )
        assert len(await life.core.waiting()) == 1

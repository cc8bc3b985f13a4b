"""The change set: decided as a whole, reviewed, approved, then done; or not at all."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Fallback, Workflow
from runtime.gateway.messages import Answer
from store.records.canonical import Json
from store.records.errors import Denied, InDoubt, ModelFailed, SettingsError, ToolFailed
from store.records.identity import User
from store.records.kinds import Kind

Function = Callable[..., Any]


def flow(function: Function, fallback: Fallback | None = None) -> Workflow:
    return Workflow("flow", 1, function, fallback, ())


async def fallback(run: Run) -> str:
    """The rules, which page somebody."""
    run.stage("ops.page_on_call", message="help")
    await run.review()
    await run.commit()
    return "paged"


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


async def test_what_was_not_reviewed_is_not_committed(live: Any, site: Any) -> None:
    async with live(flow(staging(RESTART, review=False), fallback)) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("denied", "Denied")
        assert "was not reviewed" in view.outcome
    assert site.effects() == []


async def test_what_is_staged_after_the_review_takes_the_review_back(live: Any, site: Any) -> None:
    async def late(run: Run) -> None:
        run.stage(*RESTART[:1], **RESTART[1])
        await run.review()
        run.stage("ops.page_on_call", message="unseen")
        await run.commit()

    async with live(flow(late)) as life:
        assert (await life.run("flow")).status == "denied"
    assert site.effects() == []


@pytest.mark.parametrize("order", [(RESTART, MAIL), (MAIL, RESTART), (ROLLBACK, MAIL)])
async def test_one_denied_effect_denies_all_and_no_fallback_runs(live: Any, site: Any, order: Any) -> None:
    async with live(flow(staging(*order), fallback)) as life:
        view = await life.run("flow", answer=True)
        assert view.status == "denied"
        assert "ops.send_mail" in view.outcome
        assert life.events(view.run, Kind.APPROVAL_REQUESTED, Kind.EFFECT_INTENT) == []
        assert "rule" not in [event.actor for event, _ in life.events(view.run, Kind.STAGED)]
    assert site.effects() == []


async def test_no_fallback_runs_after_a_denial_that_the_workflow_caught(live: Any, site: Any) -> None:
    async def stubborn(run: Run) -> None:
        try:
            await staging(MAIL)(run)
        except Denied:
            raise ModelFailed("try the rules, then") from None

    async with live(flow(stubborn, fallback)) as life:
        assert (await life.run("flow")).status == "denied"
    assert site.effects() == []


async def test_a_reviewers_no_hands_over_to_the_fallback(live: Any, site: Any, agents: Any) -> None:
    answers = [{"verdict": "reject", "reason": "no evidence"}, {"verdict": "approve", "reason": "fine"}]

    async def review(context: Any) -> Any:
        return agents._say("review", context, answers.pop(0))

    agents.review = review
    async with live(flow(staging(RESTART), fallback)) as life:
        view = await life.run("flow")
        assert (view.status, view.resolved_by, life.value(view.run)) == ("completed-by-fallback", "rule", "paged")
        discarded = life.events(view.run, Kind.CHANGE_SET_DISCARDED)
        assert discarded[0][1]["steps"] == ["1"]
    assert [tool for tool, _, _ in site.effects()] == ["page_on_call"]


async def test_a_reviewers_no_to_the_fallback_fails_the_run(live: Any, site: Any, agents: Any) -> None:
    agents.verdict = {"verdict": "reject", "reason": "no evidence"}
    async with live(flow(staging(RESTART), fallback)) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "ModelFailed")
    assert agents.asked == ["review", "review"]
    assert site.effects() == []


@pytest.mark.parametrize("verdict", [None, {}, {"verdict": "yes", "reason": ""}, "approve", {"verdict": "approve"}])
async def test_a_review_that_makes_no_sense_is_a_no(live: Any, site: Any, agents: Any, verdict: Json) -> None:
    agents.verdict = verdict
    async with live(flow(staging(RESTART))) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "ModelFailed")
    assert site.effects() == []


async def test_a_yes_lets_the_effect_through_and_is_on_record(live: Any, site: Any) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        view = await life.run("flow", answer=True)
        assert view.status == "completed"
        (asked, request), (answered, answer) = life.events(view.run, Kind.APPROVAL_REQUESTED, Kind.APPROVAL_ANSWERED)
        assert request["arguments"] == {"service": "orders"}
        assert (answered.principal, answered.decision, answer["meaning"]) == (life.user.name, "yes", "seen")
        intent, payload = life.events(view.run, Kind.EFFECT_INTENT)[0]
        assert asked.seq < answered.seq < intent.seq
        assert payload["approver"] == life.user.name
    assert len(site.effects()) == 1


async def test_a_no_denies_the_whole_set(live: Any, site: Any) -> None:
    async with live(flow(staging(RESTART, ROLLBACK), fallback)) as life:
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
        assert (after.approval, after.binding) == (before.approval, before.binding)
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
        both = [life.core.answer(Answer(approval=entry.approval, yes=yes), life.user) for yes in (False, True)]
        first, second = await asyncio.gather(*both, return_exceptions=True)
        assert first is None
        assert isinstance(second, SettingsError)
        assert (await life.finish(run)).status == "denied"
        assert len(life.events(run, Kind.APPROVAL_ANSWERED)) == 1
        with pytest.raises(SettingsError, match="no such approval is waiting"):
            await life.core.answer(Answer(approval=entry.approval, yes=True), life.user)


async def test_an_answer_counts_even_if_whoever_gave_it_hangs_up(live: Any, site: Any) -> None:
    async with live(flow(staging(ROLLBACK))) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        (entry,) = await life.core.waiting()
        answering = asyncio.ensure_future(life.core.answer(Answer(approval=entry.approval, yes=True), life.user))
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
            await life.core.answer(Answer(approval=entry.approval, yes=True), User("eve", 1, "local", "x"))
        assert len(await life.core.waiting()) == 1


async def test_a_reference_is_filled_with_an_earlier_result(live: Any, site: Any) -> None:
    async def linked(run: Run) -> Json:
        ticket = run.stage("ops.open_ticket", title="orders")
        run.stage("ops.page_on_call", message=ticket.ref("done"))
        await run.review()
        return [each.result for each in await run.commit()]

    async with live(flow(linked)) as life:
        assert (await life.run("flow")).status == "completed"
    assert site.effects()[1][2] == {"message": "open_ticket"}


async def test_a_reference_to_a_field_that_is_not_there(live: Any, site: Any) -> None:
    async def linked(run: Run) -> None:
        ticket = run.stage("ops.open_ticket", title="orders")
        run.stage("ops.page_on_call", message=ticket.ref("number"))
        await run.review()
        await run.commit()

    async with live(flow(linked)) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "ToolFailed")
    assert [tool for tool, _, _ in site.effects()] == ["open_ticket"]


async def test_a_reference_across_change_sets_is_refused_before_anything_is_done(live: Any, site: Any) -> None:
    async def linked(run: Run) -> None:
        ticket = run.stage("ops.open_ticket", title="orders")
        run.discard()
        run.stage("ops.restart_service", service="orders")
        run.stage("ops.page_on_call", message=ticket.ref("done"))
        await run.review()
        await run.commit()

    async with live(flow(linked)) as life:
        view = await life.run("flow")
        assert "not staged before" in view.outcome
    assert site.effects() == []


@pytest.mark.parametrize("message", ["what is $ref?", "{'$ref': ['1', 'done']}"])
async def test_text_that_looks_like_a_reference_is_text(live: Any, site: Any, message: str) -> None:
    async with live(flow(staging(("ops.page_on_call", {"message": message}))), policy="strict") as life:
        assert (await life.run("flow", answer=True, attachments=("x",))).status == "completed"
    assert site.effects()[0][2] == {"message": message}


async def test_what_uses_an_untrusted_result_is_judged_as_untrusted(live: Any, site: Any) -> None:
    async def linked(run: Run) -> None:
        ticket = run.stage("ops.open_ticket", title="orders")
        run.stage("ops.page_on_call", message=ticket.ref("done"))
        await run.review()
        await run.commit()

    async with live(flow(linked), policy="strict") as life:
        view = await life.run("flow", answer=True)
        judged = [(e.tool, e.labels.integrity.name, e.decision) for e, _ in life.events(view.run, Kind.DECISION)]
        assert judged == [("ops.open_ticket", "TRUSTED", "allow"), ("ops.page_on_call", "UNTRUSTED", "suspend")]
        assert view.status == "denied", "what a person would have to approve is not known before the first effect"
    assert site.effects() == []


async def test_effects_left_over_are_an_error(live: Any, site: Any) -> None:
    async def forgetful(run: Run) -> str:
        run.stage("ops.restart_service", service="orders")
        return "done"

    async with live(flow(forgetful)) as life:
        view = await life.run("flow")
        assert view.status == "failed"
        assert "uncommitted effects: ops.restart_service" in view.outcome
    assert site.effects() == []


@pytest.mark.parametrize(
    ("tool", "arguments", "what"),
    [
        ("ops.read_logs", {"service": "orders"}, "is called, not staged"),
        ("ops.restart_service", {}, "does not fit the tool's schema"),
        ("ops.restart_service", {"service": 3}, "service does not fit the tool's schema"),
        ("ops.page_on_call", {"message": {"$ref": ["1", "x"]}}, "looks like a reference"),
    ],
)
async def test_what_cannot_be_staged(live: Any, tool: str, arguments: Any, what: str) -> None:
    async with live(flow(staging((tool, arguments)))) as life:
        view = await life.run("flow")
        assert view.status == "failed"
        assert what in view.outcome


async def test_a_tool_that_refuses_an_effect(live: Any, site: Any) -> None:
    site.trouble["open_ticket"] = ["error"]

    async def careful(run: Run) -> str:
        try:
            await staging(RESTART, ("ops.open_ticket", {"title": "x"}))(run)
        except ToolFailed as error:
            return error.what
        return ""

    async with live(flow(careful)) as life:
        view = await life.run("flow")
        assert (view.status, view.outcome) == ("completed", "the tool refused the effect")
    assert [tool for tool, _, _ in site.effects()] == ["restart_service"]


async def test_in_doubt_parks_the_run_and_the_next_life_does_not_repeat_it(live: Any, site: Any) -> None:
    site.trouble["set_dependency"] = ["lost"]
    effect = ("ops.set_dependency", {"service": "orders", "dependency": "gateway"})
    async with live(flow(staging(RESTART, effect), fallback)) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("parked", InDoubt.__name__)
        assert (await life.resume(view.run)).status == "parked"
    async with live(flow(staging(RESTART, effect), fallback)) as life:
        assert (await life.resume(view.run)).status == "parked"
        assert len(life.events(view.run, Kind.EFFECT_IN_DOUBT)) == 3
        assert life.repeated(view.run) == []
    assert [tool for tool, _, _ in site.effects()] == ["restart_service"]


async def test_branches_stage_and_commit_apart(live: Any, site: Any) -> None:
    async def one(run: Run, service: str, pauses: int) -> str:
        run.stage("ops.restart_service", service=service)
        for _ in range(pauses):
            await run.sleep(0)
        await run.review()
        await run.sleep(0)
        (receipt,) = await run.commit()
        return receipt.key.rpartition("/")[2]

    async def both(run: Run) -> Json:
        return await run.gather(lambda: one(run, "orders", 3), lambda: one(run, "gateway", 0))

    async with live(flow(both)) as life:
        view = await life.run("flow")
        assert life.value(view.run) == ["1.1.7.1", "1.2.4.1"]
    assert sorted(arguments["service"] for _, _, arguments in site.effects()) == ["gateway", "orders"]


async def test_what_branches_leave_staged_is_the_runs_in_their_order(live: Any, site: Any) -> None:
    async def one(run: Run, service: str, pauses: int) -> None:
        for _ in range(pauses):
            await run.sleep(0)
        run.stage("ops.restart_service", service=service)

    async def both(run: Run) -> None:
        await run.gather(lambda: one(run, "orders", 3), lambda: one(run, "gateway", 0))
        await run.review()
        await run.commit()

    async with live(flow(both)) as life:
        assert (await life.run("flow")).status == "completed"
    assert [arguments["service"] for _, _, arguments in site.effects()] == ["orders", "gateway"]

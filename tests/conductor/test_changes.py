"""The change set: decided as a whole, reviewed, approved, then done; or not at all."""

from collections.abc import Callable
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Fallback, Workflow
from store.records.canonical import Json
from store.records.errors import Denied, InDoubt, ModelFailed, ToolFailed
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
        ("ops.restart_service", {}, "the arguments do not fit"),
        ("ops.restart_service", {"service": 3}, "service breaks the rule type"),
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
        assert (view.status, view.outcome) == (
            "completed",
            "the tool refused the effect; ops.restart_service stays, nothing undoes it",
        )
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
        assert len(life.events(view.run, Kind.EFFECT_IN_DOUBT)) == 1  # that it still is, is nothing new
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


async def test_a_budget_that_does_not_reach_for_the_set_stops_all_of_it(live: Any, site: Any) -> None:
    workflow = flow(staging(("ops.restart_service", {"service": "orders"}), ("ops.open_ticket", {"title": "t"})))
    async with live(workflow, calls_per_run=1) as life:
        view = await life.run("flow")
        assert (view.status, view.error) == ("failed", "BudgetExceeded")
    assert site.effects() == []

"""The steps that a model takes part in: what is believed of a proposal, what it costs, and when it is not asked for."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from runtime.contract.run import Run
from runtime.contract.workflow import Fallback, Workflow
from store.records.canonical import Json
from store.records.kinds import Kind

Function = Callable[..., Any]


def flow(function: Function, fallback: Fallback | None = None) -> Workflow:
    return Workflow("flow", 1, function, fallback, ())


async def by_rule(run: Run) -> str:
    """The rules."""
    return "by rule"


class Even(BaseModel):
    """An answer with a rule that no JSON Schema shows."""

    number: int

    @field_validator("number")
    @classmethod
    def even(cls, value: int) -> int:
        """Refuse odd numbers."""
        if value % 2:
            raise ValueError("odd")
        return value


async def asks(run: Run) -> int:
    """Ask twice."""
    first = await run.ask(Even, "a number")
    return first.number + (await run.ask(Even, "another")).number


async def test_tokens_run_out_before_the_call(live: Any, agents: Any) -> None:
    agents.answer = {"number": 2}
    async with live(flow(asks, by_rule), tokens_per_run=1740) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "BudgetExceeded")
    assert agents.asked == ["ask"], "the second call was never made"


async def test_tokens_spent_in_an_earlier_life_count(live: Any, agents: Any) -> None:
    agents.answer = {"number": 2}
    async with live(flow(asks), tokens_per_run=1740) as life:
        life.dies_after(2)
        run = await life.submit("flow")
        await life.finish(run)
    agents.asked.clear()
    async with live(flow(asks), tokens_per_run=1740) as life:
        await life.resume(run)
        assert life.error(run)["kind"] == "BudgetExceeded"
    assert agents.asked == []


async def test_calls_run_out_before_the_call(live: Any, site: Any) -> None:
    async def reads(run: Run) -> None:
        for _ in range(3):
            await run.call("ops.list_services")

    async with live(flow(reads, by_rule), calls_per_run=2) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "BudgetExceeded")
    assert site.reads == ["list_services"] * 2


@pytest.mark.parametrize(
    ("answer", "stop", "what"),
    [
        ({"number": "two"}, "end", "does not fit its schema"),
        ({"number": 3}, "end", "does not fit its model"),
        (None, "length", "no whole answer"),
    ],
)
async def test_an_answer_that_does_not_fit_hands_over_and_is_accounted_for(
    live: Any, agents: Any, answer: Json, stop: str, what: str
) -> None:
    agents.answer, agents.stop = answer, stop
    async with live(flow(asks, by_rule)) as life:
        view = await life.run("flow")
        assert (view.status, view.outcome, view.resolved_by) == ("completed-by-fallback", "by rule", "rule")
        assert (view.model_calls, view.tokens) == (1, 50)
        asked = life.events(view.run, Kind.STEP_FAILED, Kind.STEP_COMPLETED)[0][1]
        assert asked["detail"]["messages"] == [["user", "ask"]]
        assert asked["detail"]["completions"][0]["token_ids"] == [1, 2]
        assert what in life.events(view.run, Kind.NOTE)[0][1]["text"]


@pytest.mark.parametrize("chosen", [None, {}, {"choice": "other"}, "flow"])
async def test_a_choice_that_was_not_given_is_none(live: Any, agents: Any, chosen: Json) -> None:
    agents.choice = chosen
    async with live(flow(by_rule), Workflow("flow-2", 1, by_rule, None, ())) as life:
        view = await life.run()
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "ModelFailed")


@pytest.mark.parametrize(("confidence", "status"), [(0.6, "completed"), (0.4, "failed"), (float("nan"), "failed")])
async def test_a_router_that_is_not_sure(live: Any, agents: Any, confidence: float, status: str) -> None:
    agents.choice, agents.confidence = {"choice": "flow"}, confidence
    async with live(flow(by_rule), Workflow("flow-2", 1, by_rule, None, ())) as life:
        assert (await life.run()).status == status


def call(tool: str, **arguments: Any) -> Json:
    return {"tool": tool, "arguments": arguments}


@pytest.mark.parametrize(
    "said", [None, "x", {}, {"tool": "ops.read_logs"}, call("ops.send_mail"), {"tool": "done", "arguments": []}]
)
async def test_a_proposal_out_of_form_is_the_models_failure(live: Any, agents: Any, said: Json) -> None:
    agents.calls = [said]

    async def works(run: Run) -> None:
        await run.work("goal", tools=("ops.read_logs",))

    async with live(flow(works, by_rule)) as life:
        assert (await life.run("flow")).status == "completed-by-fallback"


async def test_the_loop_tells_the_model_of_its_mistakes_and_goes_on(live: Any, site: Any, agents: Any) -> None:
    agents.calls = [
        call("ops.read_logs"),
        call("ops.page_on_call", message={"$ref": ["1", "x"]}),
        call("ops.read_logs", service="orders"),
        call("done"),
    ]

    async def works(run: Run) -> Json:
        done = await run.work("goal", tools=("ops.read_logs", "ops.page_on_call"), turns=9)
        return [done.summary, [tool for tool, _, _ in done.reads], len(done.staged)]

    async with live(flow(works)) as life:
        view = await life.run("flow")
        assert life.value(view.run) == ["", ["ops.read_logs"], 0]
    turns = agents.seen[-1].turns
    assert [turn.error for turn in turns] == [True, True, False]


async def test_the_reviewer_is_told_what_the_core_found_out_itself(live: Any, agents: Any) -> None:
    async def works(run: Run) -> None:
        await run.call("ops.read_logs", service="orders")
        for service in ("orders", "gateway", "elsewhere", ""):
            run.stage("ops.restart_service", service=service)
        run.stage("ops.page_on_call", message="orders")
        await run.review()

    async with live(flow(works)) as life:
        await life.run("flow")
    told = [(each.target, each.target_known, each.target_examined) for each in agents.seen[-1].changes[:4]]
    assert told == [
        ("orders", True, True),
        ("gateway", True, False),
        ("elsewhere", False, False),
        ("(none)", False, False),  # a target left out is not the same as a tool without one
    ]
    assert agents.seen[-1].changes[0].evidence == ("WARN orders: disk quota exceeded",)
    assert agents.seen[-1].changes[4].target == ""

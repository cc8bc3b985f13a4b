"""The steps that a model takes part in: what is believed of a proposal, what it costs, and when it is not asked for."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from models.request import Embedding
from runtime.agents.proposal import ModelCall
from runtime.conductor.meter import FRAME, Most
from runtime.contract.run import Run
from runtime.contract.values import Example
from runtime.contract.workflow import Fallback, Workflow
from store.records.canonical import Json
from store.records.errors import ModelFailed
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


SHOWN = ModelCall(("a task", "one choice", "another"), Embedding([[1.0]] * 3, "toy", "e" * 64, "q" * 64, 12, 0, 3))
"""An embedding that an answer rests on."""


@pytest.mark.parametrize("ends", ["well", "in nothing", "in an error"])
async def test_every_call_that_a_proposal_rests_on_is_an_event_of_its_own(live: Any, agents: Any, ends: str) -> None:
    agents.answer, agents.earlier = {"number": 2}, (SHOWN, SHOWN)
    if ends == "in nothing":
        agents.answer, agents.stop = None, "length"
    if ends == "in an error":
        agents.error = ModelFailed("the second question was too long")

    async def asks_once(run: Run) -> int:
        return (await run.ask(Even, "a number")).number

    async with live(flow(asks_once, by_rule)) as life:
        view = await life.run("flow")
        called = [(event, payload) for event, payload in life.events(view.run) if event.model_digest]
        (step,) = [event for event, _ in life.events(view.run, Kind.STEP_COMPLETED, Kind.STEP_FAILED)]
        assert {event.step for event, _ in called} == {"1"}
        assert {event.actor for event, _ in called} == {"worker"}
        assert [(event.model_digest[0], event.tokens, event.device_ms) for event, _ in called] == [
            ("e", 12, 3),
            ("e", 12, 3),
            ("m", 50, 5),
        ]
        assert [event.kind for event, _ in called[:2]] == [Kind.MODEL_CALLED] * 2
        assert (called[2][0].seq == step.seq) is (ends != "in an error")
        assert called[0][1]["texts"] == ["a task", "one choice", "another"]
        assert called[0][1]["embedding"] == {
            "model": "toy",
            "model_digest": "e" * 64,
            "prompt_digest": "q" * 64,
            "tokens": 12,
            "queue_ms": 0,
            "device_ms": 3,
        }
        assert (view.model_calls, view.tokens, view.device_ms) == (3, 74, 11)
        assert view.status == ("completed" if ends == "well" else "completed-by-fallback")


async def test_calls_on_the_way_to_an_answer_use_the_budget_up(live: Any, agents: Any) -> None:
    agents.answer, agents.earlier = {"number": 2}, (SHOWN,)
    async with live(flow(asks), tokens_per_run=1700 + 61) as life:
        view = await life.run("flow")
        assert (life.error(view.run)["kind"], view.tokens) == ("BudgetExceeded", 62)
    agents.asked.clear()
    async with live(flow(asks), tokens_per_run=1700 + 61) as life:
        life.dies_after(3)  # after the embedding, the answer's own event and one more
        run = await life.submit("flow")
        await life.finish(run)
    async with live(flow(asks), tokens_per_run=1700 + 61) as life:
        await life.resume(run)
        assert life.error(run)["kind"] == "BudgetExceeded", "what an earlier life spent is booked"
    assert agents.asked == ["ask"]


async def test_a_choice_by_embedding_is_a_model_call(live: Any, agents: Any) -> None:
    agents.choice, agents.answering = {"choice": "flow"}, SHOWN
    async with live(flow(by_rule), Workflow("flow-2", 1, by_rule, None, ())) as life:
        view = await life.run()
        ((event, payload),) = life.events(view.run, Kind.STEP_COMPLETED)
        assert (event.model_digest, event.prompt_digest, event.tokens, event.device_ms) == ("e" * 64, "q" * 64, 12, 3)
        assert payload["detail"]["texts"] == ["a task", "one choice", "another"]
        assert (view.model_calls, view.tokens) == (1, 12)
    allowance = agents.seen[0].allowance
    assert (allowance.calls, allowance.texts, Most.of(allowance).tokens) == (0, 1500, 1500)


async def test_what_memory_has_embedded_is_a_model_call(live: Any) -> None:
    async def remembers(run: Run) -> int:
        none = await run.recall("what was it")
        await run.remember("four words of text", {})
        return len(none) + len(await run.recall("two words"))

    async with live(flow(remembers)) as life:
        view = await life.run("flow")
        assert (life.value(view.run), view.model_calls, view.tokens, view.device_ms) == (1, 2, 6, 6)
        nothing, kept, found = life.events(view.run, Kind.STEP_COMPLETED)
        assert (nothing[0].model_digest, nothing[0].tokens) == ("", 0), "there was nothing to search in"
        assert [payload["detail"]["texts"] for _, payload in (kept, found)] == [["four words of text"], ["two words"]]
        assert {event.model_digest for event, _ in (kept, found)} == {"e" * 64}


async def test_a_text_for_memory_keeps_to_budget_and_allowance(live: Any) -> None:
    async def remembers(run: Run) -> None:
        await run.remember("a " * 70, {})

    async with live(flow(remembers), tokens_per_run=100) as life:
        view = await life.run("flow")
        assert (view.tokens, life.error(view.run)["kind"]) == (0, "BudgetExceeded")
    async with live(flow(remembers), prompt_tokens_per_proposal=64) as life:
        view = await life.run("flow")
        assert (view.tokens, life.error(view.run)["kind"]) == (0, "ModelFailed")


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
        assert asked["detail"]["completion"]["token_ids"] == [1, 2]
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


async def test_only_the_first_call_without_examples_may_weigh_the_tools_by_meaning(live: Any, agents: Any) -> None:
    agents.calls = [call("ops.read_logs", service="orders"), call("done"), call("done")]

    async def works(run: Run) -> None:
        tools = ("ops.read_logs", "ops.page_on_call")
        await run.work("goal", tools=tools)
        with suppress(ModelFailed):
            await run.work("goal", tools=tools, examples=[Example("a situation", "ops.read_logs", {"service": "x"})])

    async with live(flow(works)) as life:
        await life.run("flow")
    first, then, *shown = agents.seen
    assert [bool(each.examples) for each in shown] == [True] * len(shown) != []
    assert [each.allowance.texts for each in (then, shown[0])] == [0, 0]
    tools = sum(len(tool.name) + len(tool.description) for tool in first.tools)
    assert first.allowance.texts == len(first.task + first.goal) + tools + 3 * FRAME


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
    assert (agents.seen[-1].allowance.calls, agents.seen[-1].allowance.texts) == (6, 1500)

"""A run is held to what its workflow declares of models: what is not declared, no model decides, in any life of it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.contract.decision import ByModel
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow, workflow
from runtime.workflows.catalog import load
from store.records.canonical import Json
from store.records.errors import SettingsError
from store.records.kinds import Kind

LOOKS = {"tool": "ops.read_logs", "arguments": {"service": "orders"}}
REPAIRS = {"tool": "ops.restart_service", "arguments": {"service": "orders"}}


class Facts(BaseModel):
    """What the model is asked for."""

    service: str


class Go(BaseModel):
    """A signal."""


async def asks(run: Run) -> str:
    return (await run.ask(Facts, "Which service?")).service


async def routes(run: Run) -> str:
    return await run.route({"a": "this", "b": "that"})


async def looks(run: Run) -> Json:
    return (await run.work("Look.", tools=("ops.read_logs",), turns=1)).summary


async def repairs(run: Run) -> None:
    await run.work("Look, then repair.", tools=("ops.read_logs", "ops.restart_service"), turns=2)
    await run.review()
    await run.commit()


async def reviewed(run: Run) -> None:
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.commit()


async def by_rule(run: Run) -> str:
    return "by rule"


def flow(function: Any, *by_model: ByModel, **more: Any) -> Workflow:
    return Workflow("flow", 1, function, more.pop("fallback", None), (), by_model=by_model, **more)


ASKS, ROUTES = ByModel("ask", "which service"), ByModel("route", "which way")
READS = ByModel("work", "what to look at", ("ops.read_logs",))


@pytest.mark.parametrize(
    ("function", "declared", "step"),
    [
        (asks, (), "decides ask"),
        (asks, (ROUTES, READS), "decides ask"),
        (routes, (ASKS,), "decides route"),
        (looks, (ASKS,), "decides work ops.read_logs"),
        (repairs, (READS,), "decides work ops.read_logs ops.restart_service"),
    ],
)
async def test_what_is_not_declared_no_model_is_asked_for(
    live: Any, agents: Any, site: Any, function: Any, declared: tuple[ByModel, ...], step: str
) -> None:
    async with live(flow(function, *declared, fallback=by_rule)) as life:
        view = await life.run("flow")
        assert (view.status, view.resolved_by) == ("failed", ""), "and no fallback covers it up"
        assert life.error(view.run)["what"] == f"the workflow does not say that a model {step}"
        [(event, payload)] = life.events(view.run, Kind.STEP_FAILED)
        assert (event.decision, payload["by"]) == ("settingserror", "model")
    assert (agents.asked, site.effects()) == ([], [])


@pytest.mark.parametrize(
    ("function", "declared"), [(asks, ASKS), (routes, ROUTES), (looks, READS), (repairs, ByModel("work", "all of it"))]
)
async def test_what_is_declared_a_model_decides(live: Any, agents: Any, function: Any, declared: ByModel) -> None:
    agents.answer, agents.choice, agents.calls = {"service": "orders"}, {"choice": "a"}, [LOOKS, REPAIRS]
    async with live(flow(function, declared)) as life:
        view = await life.run("flow")
        assert (view.status, view.resolved_by) == ("completed", "model")


async def test_nothing_declared_is_nothing_refused(live: Any, agents: Any) -> None:
    agents.answer = {"service": "orders"}
    async with live(replace(flow(asks), by_model=None)) as life:
        assert (await life.run("flow")).status == "completed"


async def test_a_reviewer_is_asked_of_a_workflow_that_no_model_decides(live: Any, agents: Any, site: Any) -> None:
    async with live(flow(reviewed)) as life:
        view = await life.run("flow")
        assert (view.status, agents.asked, len(site.effects())) == ("completed", ["review"], 1)
        agents.verdict = {"verdict": "reject", "reason": "no"}
        assert (await life.run("flow")).status == "failed"
    assert len(site.effects()) == 1


async def test_a_workflow_that_catches_the_refusal_has_got_nothing(live: Any, agents: Any) -> None:
    async def catches(run: Run) -> str:
        try:
            return await asks(run)
        except SettingsError:
            return "nothing"

    async with live(flow(catches)) as life:
        view = await life.run("flow")
        assert (view.status, view.resolved_by, life.value(view.run)) == ("completed", "rule", "nothing")
    assert agents.asked == []


async def test_a_step_that_a_model_has_decided_parks_a_run_once_the_workflow_lets_none(live: Any, agents: Any) -> None:
    async def waits(run: Run) -> str:
        service = await asks(run)
        await run.wait("go", Go)
        return service

    agents.answer = {"service": "orders"}
    async with live(flow(waits, ASKS)) as life:
        run = await life.submit("flow")
        while not life.events(run, Kind.WAIT_BEGUN):
            await asyncio.sleep(0.01)
    async with live(flow(waits)) as life:
        view = await life.resume(run)
        assert (view.status, view.error) == ("parked", "ReplayMismatch")
        assert "a model has decided this step" in life.error(run)["what"]
    async with live(flow(waits, ASKS)) as life:
        await life.core.signal(run, "go", {}, life.user)
        assert (await life.resume(run)).status == "completed"


@pytest.mark.parametrize("declared", [None, (ASKS,)])
async def test_in_a_fallback_no_model_decides(live: Any, agents: Any, declared: Any) -> None:
    agents.error = None
    agents.answer = {"service": 3}

    async with live(replace(flow(asks, fallback=asks), by_model=declared)) as life:
        view = await life.run("flow")
        assert view.status == "failed"
        assert "a fallback is decided by rules alone" in life.error(view.run)["what"]
    assert agents.asked == ["ask"]


@pytest.mark.parametrize(
    ("parent", "child", "status"),
    [
        ((), (), "completed"),
        ((), (ASKS,), "failed"),
        ((), None, "failed"),
        ((ASKS,), (ASKS,), "failed"),
        ((ByModel("child", "which service"),), (ASKS,), "completed"),
        (None, (ASKS,), "completed"),
    ],
)
async def test_no_model_decides_through_a_run_that_is_begun(
    live: Any, agents: Any, parent: Any, child: Any, status: str
) -> None:
    async def begins(run: Run) -> Any:
        return await run.child("child", "t")

    agents.answer = {"service": "orders"}
    inner = Workflow("child", 1, asks if child != () else by_rule, None, (), by_model=child)
    async with live(replace(flow(begins), by_model=parent), inner) as life:
        view = await life.run("flow")
        assert view.status == status
        if status == "failed":
            assert "decides child" in life.error(view.run)["what"]
            assert len(await life.core.runs(9)) == 1, "it was not even begun"


def test_what_cannot_be_declared() -> None:
    async def fine(run: Run) -> None:
        """Fine."""

    for step, decides, tools in (("think", "x", ()), ("ask", " ", ()), ("ask", "a\nb", ()), ("ask", "x", ("a.b",))):
        with pytest.raises(SettingsError):
            ByModel(step, decides, tools)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"use ops\.wipe, which is none of its tools"):
        workflow("w", tools=("ops.look",), by_model=(ByModel("work", "x", ("ops.look", "ops.wipe")),))(fine)
    assert workflow("w", by_model=())(fine).deterministic
    assert not workflow("w")(fine).deterministic


def test_the_shipped_workflows_declare_what_a_model_decides() -> None:
    assert {name: [each.step for each in known.by_model or ()] for name, known in load().items()} == {
        "triage": ["work", "work"],
        "task": ["work", "ask"],
    }

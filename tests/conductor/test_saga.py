"""A commit that fails midway: what was done before is undone in reverse order, once, however often the core dies."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from store.records.errors import ToolFailed
from store.records.kinds import Kind
from tools.functions import FunctionToolset

from .conftest import toolset


async def two_moves(run: Run) -> str:
    for number in ("1", "2"):
        run.stage("ops.move", what=number, to="store")
    run.stage("ops.open_ticket", title="moved")
    run.stage("ops.rollback_config", service="orders")
    await run.review()
    try:
        await run.commit()
    except ToolFailed as error:
        return error.what
    return "moved"


def flow(function: Callable[..., Awaitable[Any]]) -> Workflow:
    return Workflow("flow", 1, function, None, ())


UNDONE = [["move", "1"], ["move", "2"], ["open_ticket", ""], ["move_back", "2"], ["move_back", "1"]]
TOLD = "the tool refused the effect; ops.open_ticket stays, nothing undoes it, ops.move is undone, ops.move is undone"


def booking(site: Any) -> FunctionToolset:
    """The site's tools, and one whose undo takes a number that only its result has."""
    tools = toolset(site)

    @tools.tool(egress=False, irreversible=False, key_argument="key", compensate="ops.unbook")
    def book(what: str, key: str) -> dict[str, str]:
        site.act("book", key, what=what)
        return {"number": "7"}

    @tools.tool(egress=False, irreversible=False, key_argument="key")
    def unbook(number: str, key: str) -> dict[str, str]:
        site.act("unbook", key, number=number)
        return {}

    return tools


def done(site: Any) -> list[list[str]]:
    """Every effect and what it was of."""
    return [[tool, arguments.get("what", "")] for tool, _, arguments in site.effects()]


async def test_effects_are_undone_in_reverse_order(live: Any, site: Any) -> None:
    site.trouble["rollback_config"] = ["error"] * 9
    async with live(flow(two_moves), policy="strict") as life:
        view = await life.run("flow", answer=True)
        assert view.outcome == TOLD
        undone = [event for event, _ in life.events(view.run, Kind.EFFECT_OUTCOME) if event.tool == "ops.move_back"]
        assert [event.decision for event in undone] == ["done", "done"]
        assert [event.labels.sources for event in undone] == [("tool:ops.move_back", "user")] * 2
    assert done(site) == UNDONE
    keys = {arguments["what"]: key for tool, key, arguments in site.effects() if tool == "move"}
    assert [arguments["undoes"] for tool, _, arguments in site.effects() if tool == "move_back"] == [
        keys["2"],
        keys["1"],
    ]


async def test_an_undo_is_judged_by_what_it_takes_and_not_by_the_refusal(live: Any, site: Any) -> None:
    site.trouble["rollback_config"] = ["error"] * 9
    async with live(flow(two_moves), policy="strict") as life:
        assert (await life.run("flow")).outcome == TOLD  # nobody was asked: the refusal is untrusted, the moves are not
    assert done(site) == UNDONE


async def test_an_undo_that_takes_an_untrusted_result_waits_for_a_person(live: Any, site: Any) -> None:
    async def booked(run: Run) -> str:
        run.stage("ops.book", what="1")
        run.stage("ops.rollback_config", service="orders")
        await run.review()
        try:
            await run.commit()
        except ToolFailed as error:
            return error.what
        return "booked"

    site.trouble["rollback_config"] = ["error"] * 9
    async with live(flow(booked), policy="strict", tools=booking) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        ((waiting),) = await life.core.waiting()
        assert (waiting.tool, waiting.arguments) == ("ops.unbook", {"number": "7"})
        assert waiting.policies == ("approval:untrusted",)
        assert (await life.finish(run, answer=False)).outcome.endswith("ops.book stays, ops.unbook failed")


async def test_what_could_not_be_undone_is_said(live: Any, site: Any) -> None:
    site.trouble |= {"rollback_config": ["error"] * 9, "move_back": ["error"]}
    async with live(flow(two_moves), policy="strict") as life:
        outcome = (await life.run("flow", answer=True)).outcome
        assert outcome.endswith("ops.move stays, ops.move_back failed, ops.move is undone")


@pytest.mark.parametrize("step", range(3))
async def test_death_after_every_third_event(live: Any, site: Any, step: int) -> None:
    site.trouble["rollback_config"] = ["error"] * 9
    async with live(flow(two_moves), policy="strict") as life:
        whole = len(life.events((await life.run("flow", answer=True)).run))
    for count in range(step, whole - 1, 3):
        site.world.unlink()
        site.trouble["rollback_config"] = ["error"] * 9
        site.folder = site.folder.with_name(f"data{count}")
        async with live(flow(two_moves), policy="strict") as life:
            life.dies_after(count)
            run = await life.submit("flow")
            await life.finish(run, answer=True)
        async with live(flow(two_moves), policy="strict") as life:
            view = await life.resume(run, answer=True)
            assert view.outcome == TOLD, count
        assert done(site) == UNDONE, count

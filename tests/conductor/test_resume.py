"""Bringing a run back whose workflow is as it was, has changed or is gone, or whose record is damaged."""

from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from store.records.kinds import Kind


def changed(function: Callable[..., Any]) -> Workflow:
    return Workflow("flow", 1, function, None, ())


async def start(run: Run) -> str:
    await run.now()
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.commit()
    await run.call("ops.read_logs", service="orders")
    return "ended"


async def other_step(run: Run) -> str:
    await run.uuid()
    return "other"


async def other_effect(run: Run) -> str:
    await run.now()
    run.stage("ops.restart_service", service="gateway")
    await run.review()
    await run.commit()
    return "other"


async def one_step_more_before_the_commit(run: Run) -> str:
    await run.now()
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.now()
    await run.commit()
    return "other"


async def an_effect_where_a_step_was(run: Run) -> str:
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.commit()
    return "other"


async def a_step_where_an_effect_was(run: Run) -> str:
    await run.now()
    await run.now()
    return "other"


async def ends_early(run: Run) -> str:
    await run.now()
    return "other"


@pytest.mark.parametrize(
    "function",
    [
        other_step,
        other_effect,
        one_step_more_before_the_commit,
        an_effect_where_a_step_was,
        a_step_where_an_effect_was,
        ends_early,
    ],
)
@pytest.mark.parametrize("outcomes", [0, 1])
async def test_a_changed_workflow_parks_its_run(
    live: Any, site: Any, function: Callable[..., Any], outcomes: int
) -> None:
    async with live(changed(start)) as life:
        # started, now, staged, review, judged twice, intent (and outcome): the commit itself is not recorded yet
        life.dies_after(7 + outcomes)
        run = await life.submit("flow")
        await life.finish(run)
        kinds = [event.kind for event, _ in life.events(run)]
        assert kinds[-1] == (Kind.EFFECT_OUTCOME if outcomes else Kind.EFFECT_INTENT), kinds
    async with live(changed(function)) as life:
        view = await life.resume(run)
        assert view.status == "parked"
        assert life.error(run)["kind"] == "ReplayMismatch"
        assert "the workflow now asks for" in life.error(run)["what"]
        assert run in [row.run for row in life.core.ledger.open_runs()]
    assert len(site.effects()) == 1
    async with live(changed(start)) as life:
        assert (await life.resume(run)).status == "completed"
    assert len(site.effects()) == 1


async def test_a_routed_run_stays_with_its_workflow_whatever_is_installed_later(
    live: Any, site: Any, agents: Any
) -> None:
    async def one(run: Run) -> str:
        """The first."""
        return await run.uuid()

    async def two(run: Run) -> str:
        """The second."""
        return await run.uuid()

    def named(name: str, function: Callable[..., Any]) -> Workflow:
        return Workflow(name, 1, function, None, ())

    agents.choice = {"choice": "one"}
    async with live(named("one", one), named("two", two)) as life:
        life.dies_after(3)
        run = await life.submit()
        await life.finish(run)
    for later in ([named("one", one)], [named("one", one), named("three", two), named("two", two)]):
        async with live(*later) as life:
            life.dies_after(1)
            await life.resume(run)
    async with live(named("one", one)) as life:
        view = await life.resume(run)
        assert (view.status, view.workflow) == ("completed", "one")
    assert agents.asked == ["route"]


async def test_a_run_whose_workflow_is_gone_waits_for_it(live: Any) -> None:
    async with live(changed(start)) as life:
        life.dies_after(2)
        run = await life.submit("flow")
        await life.finish(run)
    async with live(Workflow("other", 1, start, None, ())) as life:
        assert (await life.resume(run)).status == "parked"
        assert "not installed here" in life.error(run)["what"]
    async with live(changed(start)) as life:
        assert (await life.resume(run)).status == "completed"


async def test_a_run_is_driven_once_however_often_it_is_asked_for(live: Any, site: Any) -> None:
    async with live(changed(start)) as life:
        run = await life.submit("flow")
        life.core.conductor._drive(run)
        await life.core.resume(run)
        await life.finish(run)
        life.core.conductor._drive(run)  # it has ended meanwhile
        await life.finish(run)
        kinds = [event.kind for event, _ in life.events(run)]
    assert kinds.count(Kind.RUN_STARTED) == kinds.count(Kind.RUN_ENDED) == 1
    assert Kind.RUN_RESUMED not in kinds
    assert len(site.effects()) == 1


async def test_a_run_whose_record_is_damaged_is_parked_and_nothing_is_repeated(live: Any, site: Any) -> None:
    async with live(changed(start)) as life:
        life.dies_after(3)
        run = await life.submit("flow")
        await life.finish(run)
        lost = life.events(run)[-1][0].payload
    with duckdb.connect(str(site.folder / "ledger.duckdb")) as connection:
        connection.execute("UPDATE payloads SET data = 'x'::BLOB WHERE id = ?", [lost])
    before = site.effects()
    async with live(changed(start)) as life:
        await life.core.resume(run)
        await life.finish(run)
        parked = life.core.ledger.run_events(run)[-1]
        assert (parked.kind, parked.decision) == (Kind.RUN_PARKED, "integrityerror")
    assert site.effects() == before

"""What runs cost, on their events and in their budgets: with real gate and ledger, and agents that say what they are
told."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.costing import NEWEST
from runtime.desk import Desk
from runtime.gate.rates import ModelRates, Rates
from runtime.gateway.messages import BudgetSpec, Submission
from store.records.errors import Denied, SettingsError
from store.records.kinds import Kind

RATES = Rates(
    currency="CHF",
    per_device_second=9_000,
    models={"toy": ModelRates(per_1000_prompt=1_000, per_1000_generated=10_000, per_device_second=2_000)},
    tools={"ops.list_services": 500, "ops.move": 70, "ops.move_back": 30},
)
TOOLS = Rates(currency="CHF", tools=RATES.tools)
ANSWER = 48 * 1 + 2 * 10 + 5 * 2
"""Millionths that the answer of a scripted agent costs: 48 tokens of a prompt, two generated, 5 ms."""


class Number(BaseModel):
    number: int


def flow(function: Any, **more: Any) -> Workflow:
    return Workflow("flow", 1, function, None, (), **more)


async def asks(run: Run) -> int:
    return (await run.ask(Number, "which?")).number


async def reads(run: Run) -> None:
    await run.call("ops.list_services")
    await run.call("ops.list_services")


async def moves(run: Run) -> None:
    for what in ("1", "2"):
        run.stage("ops.move", what=what, to="store")
    await run.review()
    await run.commit()


async def set_budget(life: Any, holder: str, name: str, every: str, **limit: int) -> None:
    await life.core.set_budget(BudgetSpec(holder=holder, name=name, every=every, limit=limit), life.user)  # type: ignore[arg-type]


def costs_of(life: Any, run: str) -> list[tuple[str, str, int]]:
    """The events of a run that cost something."""
    return [(event.kind, event.step, event.cost_micros) for event, _ in life.events(run) if event.cost_micros]


async def test_what_a_model_costs_is_on_its_event_and_a_new_rate_holds_for_what_comes_after(
    live: Any, agents: Any
) -> None:
    agents.answer = {"number": 2}
    runs = []
    for rates in (Rates(), RATES, RATES, RATES.model_copy(update={"models": {}})):
        async with live(flow(asks), rates=rates) as life:
            view = await life.run("flow")
            runs.append((view.cost_micros, costs_of(life, view.run)))
    free, first, again, by_time = runs
    step = str(Kind.STEP_COMPLETED), "1"
    assert free == (0, [])
    assert first == again == (ANSWER, [(*step, ANSWER)])
    assert by_time == (45, [(*step, 45)]), "a model without a price costs by device time"
    async with live(flow(asks)) as life:
        await life.core.ledger.flushed()
        changed = life.core.ledger.events(kinds=[Kind.RATES_CHANGED])
        assert len(changed) == 3, "to the rates, to those without models, and to none again"
        assert life.core.ledger.payload(changed[0].payload)["rates"]["tools"]["ops.move"] == 70
        assert [each.cost_micros for each in await Desk(life.core, life.user).costs("workflow")] == [2 * ANSWER + 45]
        by_model = await Desk(life.core, life.user).costs("model")
        assert [(each.key, each.cost_micros) for each in by_model] == [("m" * 64, 2 * ANSWER + 45)]


async def test_the_price_of_a_read_is_on_record_before_it_and_once(live: Any, site: Any) -> None:
    async with live(flow(reads), rates=RATES) as life:
        life.dies_after(5)
        run = await life.submit("flow")
        await life.finish(run)
    async with live(flow(reads), rates=RATES) as life:
        view = await life.resume(run)
        assert (view.status, view.cost_micros) == ("completed", 1_000)
        assert costs_of(life, run) == [(Kind.CALL_CHARGED, "1", 500), (Kind.CALL_CHARGED, "2", 500)]
        told = [event.kind for event, _ in life.events(run) if event.step == "1"]
        assert told.index(Kind.DECISION) < told.index(Kind.CALL_CHARGED) < told.index(Kind.STEP_COMPLETED)
        account = life.core.conductor.services.gate.budgets.account("local", "user", life.user.name, "day")
        assert account.used == [2, 0, 0, 1_000]


async def test_a_call_that_the_budget_stops_is_on_record_and_costs_nothing_even_after_a_restart(
    live: Any, site: Any
) -> None:
    async with live(flow(reads), rates=RATES) as life:
        await set_budget(life, "user", life.user.name, "month", cost_micros=700)
        view = await life.run("flow")
        assert (view.status, view.error, view.cost_micros) == ("failed", "BudgetExceeded", 500)
        assert f"budget of user {life.user.name} for this month" in view.outcome
        assert "limit 0.0007 CHF, used 0.0005 CHF" in view.outcome
        assert f"`bailiwick budget set user {life.user.name} --every month --money N` raises it" in view.outcome
        refused = [(event, said) for event, said in life.events(view.run, Kind.DECISION) if said["by"] == "budget"]
        assert [(event.decision, event.tool) for event, _ in refused] == [("over-budget", "ops.list_services")]
        assert "0.0007 CHF" in refused[0][1]["problem"]
    assert site.reads == ["list_services"]
    async with live(flow(reads), rates=RATES) as life:
        budgets = life.core.conductor.services.gate.budgets
        assert budgets.account("local", "user", life.user.name, "month").used == [1, 0, 0, 500]
        assert (await life.run("flow")).error == "BudgetExceeded", "a budget survives"
    assert site.reads == ["list_services"]


async def test_a_change_set_that_is_over_budget_is_not_begun_and_one_that_is_made_costs_each_effect_once(
    live: Any, site: Any
) -> None:
    async with live(flow(moves), rates=TOOLS, policy="strict") as life:
        await set_budget(life, "unit", life.user.unit, "day", cost_micros=199)
        view = await life.run("flow", answer=True)
        assert (view.error, view.cost_micros, site.effects()) == ("BudgetExceeded", 0, [])
        assert "2 effects" in view.outcome
        assert f"unit {life.user.unit} for this day does not reach: limit 0.000199 CHF" in view.outcome
        await set_budget(life, "unit", life.user.unit, "day", cost_micros=200)
        run = await life.submit("flow")
        life.dies_after(14)
        await life.finish(run, answer=True)
    async with live(flow(moves), rates=TOOLS, policy="strict") as life:
        view = await life.resume(run, answer=True)
        assert (view.status, view.cost_micros) == ("completed", 140)
        account = life.core.conductor.services.gate.budgets.account("local", "unit", life.user.unit, "day")
        assert (account.used[3], account.held) == (140, [0, 0, 0, 0])
    assert len(site.effects()) == 2


@pytest.mark.parametrize("rates", [RATES, RATES.model_copy(update={"models": {}})])
async def test_a_model_call_that_might_be_over_budget_is_not_made(live: Any, agents: Any, rates: Rates) -> None:
    agents.answer = {"number": 2}
    async with live(flow(asks), rates=rates, step_timeout_s=0.01) as life:
        most = rates.most(1500, 200, 10)
        await set_budget(life, "agent", "worker", "run", cost_micros=most - 1)
        view = await life.run("flow")
        assert (view.error, agents.asked) == ("BudgetExceeded", [])
        assert "budget of agent worker for run" in view.outcome
        await set_budget(life, "agent", "worker", "run", cost_micros=most)
        assert (await life.run("flow")).status == "completed"


async def test_only_an_admin_sets_budgets_and_whoever_asks_sees_those_of_their_tenant(live: Any) -> None:
    async with live(flow(asks), rates=RATES) as life:
        await set_budget(life, "user", "eve", "day", tokens=5)
        await set_budget(life, "user", "*", "month", calls=9)
        spec = BudgetSpec(holder="user", name="eve", every="day", limit={"tokens": 9})
        requester = replace(life.user, roles=("requester",))
        with pytest.raises(Denied, match="role admin"):
            await life.core.set_budget(spec, requester)
        seen = {(each.holder, each.name, each.every): each for each in await Desk(life.core, requester).budgets()}
        eve = seen["user", "eve", "day"]
        assert (eve.limit["tokens"], eve.used["tokens"], eve.set_by) == (5, 0, life.user.name)
        assert seen["user", "*", "month"].limit == {"calls": 9}
        assert seen["run", "*", "run"].limit == {"calls": 64, "tokens": 20_000}
        stranger = replace(requester, tenant="other")
        others = await Desk(life.core, stranger).budgets()
        assert {each.tenant for each in others} == {"other"}
        [event, _] = life.core.ledger.events(kinds=[Kind.BUDGET_SET])
        assert (event.principal, event.decision, event.step) == (life.user.name, "user/day/eve", "tokens=5")
    async with live(flow(asks)) as life:
        with pytest.raises(SettingsError, match="no rates"):
            await set_budget(life, "user", "eve", "day", cost_micros=9)
        await set_budget(life, "user", "eve", "day", cost_micros=0)


async def test_costs_are_of_the_callers_tenant_and_an_auditors_of_all(live: Any, agents: Any) -> None:
    agents.answer = {"number": 2}
    async with live(flow(asks), rates=RATES) as life:
        ours, theirs = (
            replace(life.user, roles=("requester",)),
            replace(life.user, tenant="other", name="eve"),
        )
        for user in (ours, ours, theirs):
            await life.finish(await life.core.submit(Submission(task="t", workflow="flow"), user))
        found = [(e.tenant, e.key, e.runs, e.micros_per_success) for e in await Desk(life.core, ours).costs("user")]
        assert found == [("local", ours.name, 2, ANSWER)]
        auditor = replace(ours, roles=("auditor",))
        assert [each.runs for each in await Desk(life.core, auditor).costs("user")] == [2, 1]
        assert await Desk(life.core, ours).costs("user", "2100-01-01T00:00:00+00:00") == []
        for wrong in ("yesterday", "2026-11-22"):
            with pytest.raises(SettingsError, match="no time with a zone"):
                await Desk(life.core, ours).costs("user", wrong)


async def test_an_alert_is_raised_once_and_cleared_and_known_after_a_restart(live: Any, agents: Any) -> None:
    agents.answer = {"number": 2}
    workflow = flow(asks, expected_cost=100)

    async def told(life: Any) -> list[tuple[str, str]]:
        await life.core._costs.close()
        await life.core.ledger.flushed()
        return [(each.decision, each.step) for each in life.core.ledger.events(kinds=[Kind.COST_ALERT])]

    async with live(workflow, rates=RATES, cost_alert_factor=1.0) as life:
        await life.run("flow")
        assert await told(life) == []
        agents.tokens = 150
        await life.run("flow")
        await told(life)
        await life.run("flow")
        assert await told(life) == [("raised", f"{ANSWER + 50} 100 2")]
        [alert] = await Desk(life.core, life.user).alerts()
        assert (alert.workflow, alert.mean_micros, alert.expected_micros) == ("flow", ANSWER + 50, 100)
        assert await Desk(life.core, replace(life.user, tenant="other", roles=())).alerts() == []
    agents.tokens = 12
    async with live(workflow, rates=RATES, cost_alert_factor=1.0) as life:
        await life.run("flow")
        assert len(await told(life)) == 1
        for _ in range(NEWEST):
            await life.run("flow")
        raised, cleared = await told(life)
        assert (raised[0], cleared[0]) == ("raised", "cleared")
        assert await Desk(life.core, life.user).alerts() == []


async def test_two_branches_share_what_is_left(live: Any, agents: Any) -> None:
    agents.answer = {"number": 2}

    async def both(run: Run) -> int:
        found = await run.gather(lambda: asks(run), lambda: asks(run))
        return sum(found)

    async with live(flow(both), tokens_per_run=1_800) as life:
        view = await asyncio.wait_for(life.run("flow"), 20)
        assert (view.status, view.tokens) == ("completed", 100)

"""Budgets: held before, booked after, never overspent, and the same again when rebuilt from the ledger."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.gate.budgets import Amount, Budgets, Limits
from store.records.errors import BudgetExceeded
from store.records.event import GENESIS, Event
from store.records.identity import User
from store.records.kinds import Kind

ALICE = User("alice", 1000, "local", "ops")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SMALL = Limits(run=Amount(calls=2, tokens=100, device_ms=1_000), user_day=Amount(3, 150, 5_000))


def event(kind: Kind, **fields: Any) -> Event:
    """An event of alice's."""
    known: dict[str, Any] = {
        "kind": kind,
        "tenant": "local",
        "actor": "worker",
        "actor_version": "1",
        "run": "r1",
        "principal": "alice",
        "seq": 1,
        "time": "2026-11-22T11:00:00.000000Z",
        "mono_ns": 1,
        "epoch": 1,
        "payload": "",
        "prev": GENESIS,
    }
    return Event(**(known | fields))


def budgets() -> Budgets:
    """Small budgets at noon."""
    return Budgets(SMALL, now=lambda: NOON)


def spend(spent: Budgets, run: str, tokens: int) -> None:
    """Use so many tokens of alice's."""
    spent.settle(spent.reserve(run, ALICE, Amount(tokens=tokens)), Amount(tokens=tokens))


def test_what_is_held_counts_until_it_is_settled() -> None:
    spent = budgets()
    held = spent.reserve("r1", ALICE, Amount(tokens=80))
    with pytest.raises(BudgetExceeded, match="run r1 is 100 tokens"):
        spent.reserve("r1", ALICE, Amount(tokens=21))
    spent.settle(held, Amount(tokens=30, device_ms=7))
    spent.settle(held, Amount(tokens=30))
    assert spent.left("r1", ALICE) == Amount(2, 70, 993)


def test_a_refused_reservation_holds_nothing() -> None:
    spent = budgets()
    with pytest.raises(BudgetExceeded):
        spent.reserve("r1", ALICE, Amount(calls=1, tokens=101))
    assert spent.left("r1", ALICE) == Amount(2, 100, 1_000)


def test_a_users_day_bounds_all_of_their_runs_and_nobody_elses() -> None:
    spent = budgets()
    spend(spent, "r1", 90)
    with pytest.raises(BudgetExceeded, match="user local/alice on 2026-11-22 is 150 tokens"):
        spent.reserve("r2", ALICE, Amount(tokens=61))
    spent.reserve("r3", User("bob", 1001, "local", "ops"), Amount(tokens=61))


def test_a_new_day_is_a_new_budget_for_the_user_but_not_for_the_run() -> None:
    day = [NOON]
    spent = Budgets(SMALL, now=lambda: day[0])
    spend(spent, "r1", 100)
    day[0] += timedelta(days=1)
    spent.reserve("r2", ALICE, Amount(tokens=100))
    with pytest.raises(BudgetExceeded, match="run r1"):
        spent.reserve("r1", ALICE, Amount(tokens=1))


def test_what_was_spent_beyond_the_reservation_is_booked() -> None:
    spent = budgets()
    spent.settle(spent.reserve("r1", ALICE, Amount(tokens=10)), Amount(tokens=120))
    with pytest.raises(BudgetExceeded):
        spent.reserve("r1", ALICE, Amount(tokens=1))
    assert spent.left("r1", ALICE).tokens == 0


async def test_a_model_call_books_its_bill_even_if_it_fails() -> None:
    spent = budgets()

    async def fail() -> None:
        async with spent.model_call("r1", ALICE, 60) as bill:
            assert spent.left("r1", ALICE).tokens == 40
            bill.spend(20, 5)
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        await fail()
    assert spent.left("r1", ALICE) == Amount(2, 80, 995)


def test_the_call_of_a_step_is_counted_once() -> None:
    spent = budgets()
    for _ in range(3):
        held = spent.reserve_call("r1", ALICE, "1")
        spent.settle(held, held.amount)
    assert spent.left("r1", ALICE).calls == 1


def test_replay_counts_each_allowed_call_and_each_token_once() -> None:
    spent = budgets()
    spent.replay(
        [
            event(Kind.DECISION, decision="allow", tool="ops.read_logs", step="1"),
            event(Kind.DECISION, decision="allow", tool="ops.read_logs", step="1"),
            event(Kind.DECISION, decision="deny", tool="ops.send_mail", step="2"),
            event(Kind.DECISION, decision="suspend", tool="ops.rollback_config", step="3"),
            event(Kind.STEP_COMPLETED, step="4", tokens=40, device_ms=90),
            event(Kind.RUN_ENDED, tokens=40, device_ms=90),
            event(Kind.MODEL_LOADED, run="", tokens=40),
        ]
    )
    assert spent.left("r1", ALICE) == Amount(1, 60, 910)
    held = spent.reserve_call("r1", ALICE, "1")
    assert held.amount == Amount()


def test_replay_books_to_the_day_of_the_event() -> None:
    spent = budgets()
    spent.replay([event(Kind.STEP_COMPLETED, tokens=100, time="2026-11-21T23:59:59.000000Z")])
    assert spent.left("r1", ALICE).tokens == 0
    assert spent.left("r2", ALICE).tokens == 100


def test_a_run_that_is_forgotten_frees_its_own_account_only() -> None:
    spent = budgets()
    spend(spent, "r1", 90)
    spent.forget("r1")
    assert spent.left("r1", ALICE).tokens == 60


def test_an_amount_is_never_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        Amount(tokens=-1)


_STEPS = st.lists(
    st.tuples(st.sampled_from(["r1", "r2"]), st.integers(0, 80), st.integers(0, 80), st.booleans()), max_size=20
)


@settings(max_examples=200)
@given(steps=_STEPS)
def test_nobody_who_keeps_to_what_they_reserved_can_overspend(steps: Any) -> None:
    spent = budgets()
    open_ones = []
    used = {"r1": 0, "r2": 0}
    for run, asked, needed, settle_now in steps:
        try:
            held = spent.reserve(run, ALICE, Amount(tokens=asked))
        except BudgetExceeded:
            continue
        open_ones.append((run, held, min(asked, needed)))
        if settle_now:
            for name, each, amount in open_ones:
                spent.settle(each, Amount(tokens=amount))
                used[name] += amount
            open_ones.clear()
    held_now = sum(each.amount.tokens for _, each, _ in open_ones)
    assert max(used.values()) <= SMALL.run.tokens
    assert sum(used.values()) + held_now <= SMALL.user_day.tokens

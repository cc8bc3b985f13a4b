"""Budgets: held before, booked after, never overspent, all that concern a call or none; and the same again when rebuilt
from the ledger."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.gate.amount import NO_LIMIT, Amount, money
from runtime.gate.budgets import Asked, Budgets
from runtime.gate.limits import Budget, Limits
from store.ledger.ledger import Ledger
from store.records.errors import BudgetExceeded, SettingsError
from store.records.identity import Agent, Principal, User
from store.records.usage import Usage

ALICE = Principal(User("alice", 1000, "local", "ops"), Agent("worker", "1"))
BOB = Principal(User("bob", 1001, "local", "ops"), Agent("worker", "1"))
ADMIN = User("ada", 1, "local", "ops", ("admin",))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SMALL = (Amount(2, 100, 1_000, NO_LIMIT), Amount(3, 150, 5_000, NO_LIMIT))


def budgets(**more: Any) -> Budgets:
    """Small budgets at noon."""
    return Budgets(Limits(*SMALL), **{"now": lambda: NOON} | more)


def spend(spent: Budgets, run: str, tokens: int, who: Principal = ALICE) -> None:
    """Use so many tokens."""
    spent.settle(spent.reserve(run, who, Amount(tokens=tokens)), Amount(tokens=tokens))


def used(spent: Budgets, holder: str, name: str, every: str, run: str = "") -> list[int]:
    """What an account says was used."""
    return spent.account("local", holder, name, every, run).used


def setting(ledger: Ledger, spent: Budgets, holder: str, name: str, every: str, **limit: int) -> None:
    """Set a budget, as an event."""
    spent.replay([ledger.append(Budget("local", holder, name, every, limit).draft(ADMIN)).wait(30)])


def test_what_is_held_counts_until_it_is_settled() -> None:
    spent = budgets()
    held = spent.reserve("r1", ALICE, Amount(tokens=80))
    with pytest.raises(BudgetExceeded, match="limit 100 tokens, used 0 tokens, spoken for 80 tokens, and"):
        spent.reserve("r1", ALICE, Amount(tokens=21))
    spent.settle(held, Amount(tokens=30, device_ms=7))
    spent.settle(held, Amount(tokens=30))
    assert used(spent, "run", "r1", "run", "r1") == [0, 30, 7, 0]


def test_a_refused_reservation_holds_nothing_of_any_budget() -> None:
    spent = budgets()
    with pytest.raises(BudgetExceeded):
        spent.reserve("r1", ALICE, Amount(calls=1, tokens=101))
    assert not any(any(each.held) for each in spent.accounts())
    spent.reserve("r1", ALICE, Amount(calls=2, tokens=100))


def test_a_users_day_bounds_all_of_their_runs_and_nobody_elses() -> None:
    spent = budgets()
    spend(spent, "r1", 90)
    with pytest.raises(BudgetExceeded, match=r"budget of user alice for this day .*--every day --tokens N.*2026-11-23"):
        spent.reserve("r2", ALICE, Amount(tokens=61))
    spent.reserve("r3", BOB, Amount(tokens=61))


def test_a_new_day_is_a_new_budget_for_the_user_but_not_for_the_run() -> None:
    day = [NOON]
    spent = budgets(now=lambda: day[0])
    spend(spent, "r1", 100)
    day[0] += timedelta(days=1)
    spent.reserve("r2", ALICE, Amount(tokens=100))
    with pytest.raises(BudgetExceeded, match="run r1"):
        spent.reserve("r1", ALICE, Amount(tokens=1))


def test_what_is_held_at_midnight_is_used_of_the_new_day() -> None:
    day = [NOON]
    spent = budgets(now=lambda: day[0])
    held = spent.reserve("r1", ALICE, Amount(tokens=100))
    day[0] += timedelta(days=1)
    with pytest.raises(BudgetExceeded, match="user alice"):
        spent.reserve("r2", ALICE, Amount(tokens=60))
    spent.settle(held, Amount(tokens=90))
    assert used(spent, "user", "alice", "day")[1] == 90


def test_days_and_months_are_those_of_the_zone_and_no_clock_begins_one_twice() -> None:
    day = [datetime(2026, 10, 31, 22, 30, tzinfo=UTC)]
    spent = budgets(now=lambda: day[0], zone="Europe/Zurich")
    assert spent.calendar.begin("month") == datetime(2026, 9, 30, 22, tzinfo=UTC)
    assert spent.calendar.next("month") == datetime(2026, 10, 31, 23, tzinfo=UTC)
    spend(spent, "r1", 50)
    day[0] += timedelta(hours=1)
    assert used(spent, "user", "alice", "month")[1] == 50
    spend(spent, "r2", 60)
    assert (used(spent, "user", "alice", "month")[1], used(spent, "user", "alice", "day")[1]) == (60, 60)
    day[0] -= timedelta(days=40)
    spend(spent, "r3", 70)
    assert used(spent, "user", "alice", "month")[1] == 130
    assert spent.calendar.begin("month") == datetime(2026, 10, 31, 23, tzinfo=UTC)


def test_a_core_whose_clock_is_behind_the_ledger_goes_by_the_ledger() -> None:
    spent = budgets(newest=NOON + timedelta(days=31))
    assert spent.calendar.begin("month") == datetime(2026, 12, 1, tzinfo=UTC)


def test_what_was_spent_beyond_the_reservation_is_booked() -> None:
    spent = budgets()
    spent.settle(spent.reserve("r1", ALICE, Amount(tokens=10)), Amount(tokens=120))
    with pytest.raises(BudgetExceeded):
        spent.reserve("r1", ALICE, Amount(tokens=1))


async def test_a_model_call_books_its_bill_even_if_it_fails() -> None:
    spent = budgets()

    async def fail() -> None:
        async with spent.model_call("r1", ALICE, Amount(tokens=60, device_ms=500)) as bill:
            assert spent.account("local", "run", "r1", "run", "r1").held == [0, 60, 500, 0]
            bill.spend(20, 5, 3)
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        await fail()
    account = spent.account("local", "user", "alice", "month")
    assert (account.used, account.held) == ([0, 20, 5, 3], [0, 0, 0, 0])


async def test_a_model_call_waits_for_what_others_hold_and_may_not_use() -> None:
    spent, order = budgets(), []
    free = asyncio.Event()

    async def call(name: str, uses: int) -> None:
        async with spent.model_call("r1", ALICE, Amount(tokens=60)) as bill:
            order.append(name)
            await free.wait()
            bill.spend(uses, 0)

    first, second = asyncio.create_task(call("first", 40)), asyncio.create_task(call("second", 41))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == ["first"]
    free.set()
    await asyncio.gather(first, second)
    assert order == ["first", "second"]
    with pytest.raises(BudgetExceeded):
        await call("third", 1)
    assert used(spent, "run", "r1", "run", "r1")[1] == 81


def test_the_call_of_a_step_is_counted_and_paid_for_once() -> None:
    spent = budgets()
    for _ in range(3):
        held = spent.reserve_call(Asked("r1", "1", ALICE, 70))
        spent.settle(held, held.amount)
    assert used(spent, "run", "r1", "run", "r1") == [1, 0, 0, 70]


def test_a_set_is_set_aside_whole_or_not_at_all_and_what_was_not_made_is_given_back() -> None:
    spent = budgets()
    asked = [Asked("r1", step, ALICE, 5) for step in ("1.1", "1.2")]
    with pytest.raises(BudgetExceeded):
        spent.set_aside(asked, [Asked("r1", "", ALICE)])
    assert spent.account("local", "run", "r1", "run", "r1").held == [0, 0, 0, 0]
    assert spent.set_aside(asked, []) == []
    with pytest.raises(BudgetExceeded):
        spent.reserve_call(Asked("r1", "2", ALICE))
    taken = spent.reserve_call(asked[0])
    spent.settle(taken, taken.amount)
    spent.put_back(asked)
    account = spent.account("local", "run", "r1", "run", "r1")
    assert (account.used, account.held) == ([1, 0, 0, 5], [0, 0, 0, 0])
    assert spent.reserve_call(asked[1]).amount == Amount(calls=1, cost_micros=5)


def test_what_the_ledger_says_was_used_is_booked_to_its_time_and_its_run() -> None:
    spent = budgets()
    told = [("r1", "", 0, 10), ("r1", "month", 0, 30), ("r1", "day", 1, 40), ("", "day", 1, 50)]
    spent.book(
        [
            Usage(run, "local", "ops", "alice", "worker", since, calls, tokens, 0, tokens)  # type: ignore[arg-type]
            for run, since, calls, tokens in told
        ],
        [("r1", "1")],
        [("r1", "1")],
    )
    assert used(spent, "run", "r1", "run", "r1") == [1, 80, 0, 80]
    assert used(spent, "agent", "worker", "run", "r1") == [1, 80, 0, 80]
    assert used(spent, "unit", "ops", "month") == [2, 120, 0, 120]
    assert used(spent, "user", "alice", "day") == [2, 90, 0, 90]
    assert spent.reserve_call(Asked("r1", "1", ALICE, 9)).amount == Amount()
    assert spent.reserve_call(Asked("r1", "2", ALICE, 9)).amount == Amount(calls=1, cost_micros=9)


@pytest.mark.parametrize(
    ("holder", "name"), [("agent", "worker"), ("user", "alice"), ("unit", "ops"), ("tenant", "local")]
)
@pytest.mark.parametrize("every", ["run", "day", "month"])
def test_a_budget_that_is_set_below_what_was_used_is_a_stop(ledger: Ledger, holder: str, name: str, every: str) -> None:
    spent = budgets()
    spend(spent, "r1", 20)
    setting(ledger, spent, holder, name, every, tokens=10)
    with pytest.raises(BudgetExceeded, match=rf"{holder} {name} .*limit 10 tokens, used 20 tokens.*{every} --tokens N"):
        spent.reserve("r1", ALICE, Amount(tokens=1))
    spent.reserve("r1", ALICE, Amount(calls=1))
    setting(ledger, spent, holder, name, every, tokens=NO_LIMIT)
    spend(spent, "r1", 20)


def test_one_for_each_is_for_each_alone_and_gives_way_to_ones_own_unit_by_unit(ledger: Ledger) -> None:
    spent = budgets()
    setting(ledger, spent, "user", "*", "day", tokens=40, calls=1)
    setting(ledger, spent, "user", "bob", "day", tokens=90)
    for who, most in ((ALICE, 40), (BOB, 90)):
        spend(spent, f"r{who.user.name}", most, who)
        with pytest.raises(BudgetExceeded):
            spent.reserve("r9", who, Amount(tokens=1))
    assert spent.limits.of("local", "user", "bob", "day") == (1, 90, 5_000, NO_LIMIT)
    assert spent.limits.of("other", "user", "bob", "day") == (3, 150, 5_000, NO_LIMIT)


def test_money_that_is_spent_stops_what_has_no_price_too(ledger: Ledger) -> None:
    spent = budgets(currency="CHF")
    setting(ledger, spent, "user", "alice", "month", cost_micros=1_500_000)
    spent.settle(spent.reserve("r1", ALICE, Amount(cost_micros=1_400_000)), Amount(cost_micros=1_500_001))
    with pytest.raises(BudgetExceeded, match=r"limit 1.50 CHF, used 1.500001 CHF.*--money N"):
        spent.reserve("r1", ALICE, Amount(tokens=1))
    assert spent.reserve("r1", ALICE, Amount()).amount == Amount()


@pytest.mark.parametrize(
    "change",
    [
        {"holder": "group"},
        {"every": "week"},
        {"limit": {}},
        {"limit": {"tokens": -1}},
        {"limit": {"tokens": True}},
        {"limit": {"joules": 1}},
        {"limit": {"tokens": NO_LIMIT + 1}},
        {"name": ""},
        {"name": "a\nb"},
        {"holder": "tenant", "name": "another"},
    ],
)
def test_a_budget_that_cannot_be_is_refused(change: Any) -> None:
    known: dict[str, Any] = {"tenant": "local", "holder": "user", "name": "a", "every": "day", "limit": {"tokens": 1}}
    Budget(**known)
    with pytest.raises(SettingsError):
        Budget(**known | change)


@given(name=st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" "), min_size=1, max_size=40))
@settings(max_examples=50)
def test_a_budget_is_read_as_it_was_set(name: str) -> None:
    budget = Budget("local", "unit", name, "month", {"calls": 0, "cost_micros": 7})
    assert Budget.parse(budget.draft(ADMIN)) == budget  # type: ignore[arg-type]  # an event has all that its draft has


def test_a_run_that_is_forgotten_frees_its_own_account_only() -> None:
    spent = budgets()
    spend(spent, "r1", 90)
    spent.forget("r1")
    assert used(spent, "run", "r1", "run", "r1")[1] == 0
    assert used(spent, "user", "alice", "day")[1] == 90


def test_an_amount_is_never_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        Amount(tokens=-1)


@pytest.mark.parametrize(
    ("micros", "shown"), [(0, "0.00"), (1, "0.000001"), (1_500_000, "1.50"), (1_234_567_890_000, "1,234,567.89")]
)
def test_money_is_shown_exactly(micros: int, shown: str) -> None:
    assert money(micros) == shown


_STEPS = st.lists(
    st.tuples(st.sampled_from(["r1", "r2"]), st.integers(0, 80), st.integers(0, 80), st.booleans()), max_size=20
)


@settings(max_examples=200)
@given(steps=_STEPS)
def test_nobody_who_keeps_to_what_they_reserved_can_overspend(steps: Any) -> None:
    spent = budgets()
    open_ones = []
    spent_of = {"r1": 0, "r2": 0}
    for run, asked, needed, settle_now in steps:
        try:
            held = spent.reserve(run, ALICE, Amount(tokens=asked))
        except BudgetExceeded:
            continue
        open_ones.append((run, held, min(asked, needed)))
        if settle_now:
            for name, each, amount in open_ones:
                spent.settle(each, Amount(tokens=amount))
                spent_of[name] += amount
            open_ones.clear()
    held_now = sum(each.amount.tokens for _, each, _ in open_ones)
    assert max(spent_of.values()) <= SMALL[0].tokens
    assert sum(spent_of.values()) + held_now <= SMALL[1].tokens

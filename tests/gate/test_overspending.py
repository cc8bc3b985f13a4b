"""No sequence of calls, refusals, crashes, restarts and clocks set back overspends a budget, over a real ledger.

The machine keeps its own books, by the rules in words: what a call used counts for its run, and for the day and month
that it was made in, of its agent, user, unit and tenant. It asks no code of the product for a sum.
"""

import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.budgeting import budgets_of
from runtime.gate.amount import NO_LIMIT, UNITS, Amount
from runtime.gate.budgets import Asked, Budgets, Reservation
from runtime.gate.limits import Budget
from runtime.settings import Settings
from store.ledger.costs import KEYS, costs
from store.ledger.ledger import Ledger
from store.records.errors import BudgetExceeded
from store.records.event import Draft
from store.records.identity import Agent, Principal, User
from store.records.kinds import Kind
from store.records.usage import OVER_BUDGET

Ceilings = dict[tuple[str, str, str, str], int]
"""By holder, name, period and unit: the highest limit that was in force since something was reserved."""
RUNS = ("r1", "r1-2", "r3")
WHO = {
    "r1": User("ann", 1, "local", "ops"),
    "r3": User("bob", 2, "local", "ops"),
}
ADMIN = User("ada", 3, "local", "lab", ("admin",))
ALL = ("tenant", "local", "all", "", "")
PRICE = 7
SMALL = st.sampled_from([0, 3, 6])
TENS = st.sampled_from([10, 50, 60])


class Overspending(RuleBasedStateMachine):
    """A site whose core makes calls, dies and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.settings = Settings(calls_per_run=2, tokens_per_run=90, data_dir=Path(self.folder.name) / "data")
        self.time = self.latest = datetime(2026, 11, 29, 20, tzinfo=UTC)
        self.limits: dict[tuple[str, str, str], dict[str, int]] = {}
        self.spent: dict[tuple[str, ...], Counter[str]] = {}
        self.counted: set[tuple[str, str]] = set()
        self.held: list[tuple[Reservation, str, str, Amount, Ceilings]] = []
        self.ledger: Ledger | None = None
        self.budgets: Budgets

    @initialize()
    def start(self) -> None:
        """A core starts, and says so. What the last one had reserved is free."""
        self.ledger = Ledger.open(self.settings.data_dir, clock=lambda: self.time)
        self.budgets = budgets_of(self.ledger, self.settings, now=lambda: self.time)
        self.tell(Kind.NOTE, "r1", "core")
        self.held = []

    def teardown(self) -> None:
        if self.ledger:
            self.check_costs()
            self.ledger.close()
        self.folder.cleanup()

    @rule(run=st.sampled_from(RUNS), agent=st.sampled_from(["worker", "router"]), tokens=TENS, money=SMALL)
    def think(self, run: str, agent: str, tokens: int, money: int) -> None:
        """A model is asked; it answers later, or never."""
        most = Amount(tokens=tokens, device_ms=tokens, cost_micros=money)
        try:
            reservation = self.budgets.reserve(run, self.who(run, agent), most)
        except BudgetExceeded:
            self.refused(run, agent, most)
            return
        self.held.append((reservation, run, agent, most, self.ceilings(run, agent)))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9), share=st.sampled_from([0, 0.3, 1]))
    def answer(self, which: int, share: float) -> None:
        """A model answers, within what it may use."""
        reservation, run, agent, most, ceilings = self.held.pop(which % len(self.held))
        used = Amount(0, *(int(share * number) for number in most.units[1:]))
        facts = dict(zip(UNITS[1:], used.units[1:], strict=True))
        self.tell(Kind.STEP_COMPLETED, run, agent, **facts)
        self.budgets.settle(reservation, used)
        self.book(run, agent, used, ceilings)

    @precondition(lambda self: self.held)
    @rule()
    def answer_all(self) -> None:
        """All models answer, and use all that they may."""
        while self.held:
            self.answer(0, 1)

    @rule(
        run=st.sampled_from(RUNS),
        step=st.sampled_from("123"),
        agent=st.just("worker"),
        dies=st.sampled_from([False] * 5 + [True]),
    )
    def call(self, run: str, step: str, agent: str, dies: bool) -> None:
        """A tool with a price is called. The core may die between policy's word and the call."""
        self.tell(Kind.DECISION, run, agent, step, tool="ops.look", decision="allow")
        new = (run, step) not in self.counted
        amount = Amount(calls=1, cost_micros=PRICE) if new else Amount()
        try:
            reservation = self.budgets.reserve_call(Asked(run, step, self.who(run, agent), PRICE))
        except BudgetExceeded:
            self.tell(Kind.DECISION, run, agent, step, tool="ops.look", decision=OVER_BUDGET)
            self.refused(run, agent, amount)
            return
        assert reservation.amount == amount
        if cost := reservation.amount.cost_micros:
            self.tell(Kind.CALL_CHARGED, run, agent, step, tool="ops.look", cost_micros=cost)
        self.counted.add((run, step))
        self.book(run, agent, amount, self.ceilings(run, agent))
        if dies:
            self.crash()
        else:
            self.budgets.settle(reservation, reservation.amount)

    @rule(
        holder=st.sampled_from([("agent", "worker"), ("user", "ann"), ("unit", "ops"), ("tenant", "local")]),
        every=st.sampled_from(["run", "day", "month"]),
        unit=st.sampled_from(UNITS),
        limit=st.sampled_from([5, 60, 100, NO_LIMIT, NO_LIMIT]),
    )
    def set(self, holder: tuple[str, str], every: str, unit: str, limit: int) -> None:
        """An admin sets a budget, maybe below what was used."""
        assert self.ledger
        draft = Budget("local", *holder, every, {unit: limit}).draft(ADMIN)
        self.budgets.replay([self.ledger.append(draft).wait(30)])
        self.limits.setdefault((*holder, every), {})[unit] = limit
        for *_, ceilings in self.held:
            if (*holder, every, unit) in ceilings:
                ceilings[*holder, every, unit] = max(limit, ceilings[*holder, every, unit])

    @rule()
    def crash(self) -> None:
        """The core dies. What it had told the ledger of is there; nobody settles what it held."""
        assert self.ledger
        self.ledger.close()
        self.start()

    @rule(hours=st.sampled_from([3, 30]), back=st.booleans())
    def tick(self, hours: int, back: bool) -> None:
        """Time passes, or somebody sets the clock back; and something happens then that the ledger is told."""
        self.time += timedelta(hours=-hours if back else hours)
        self.latest = max(self.latest, self.time)
        self.tell(Kind.NOTE, "r1", "core")

    @invariant()
    def the_books_agree(self) -> None:
        """The accounts are the machine's own books, whichever core has them."""
        if self.ledger is None:
            return
        for (holder, name, every, period, run), used in self.spent.items():
            if period == self.period(every):
                self.budgets.accounts()  # a day may have begun
                account = self.budgets.account("local", holder, name, every, run)
                booked = dict(zip(UNITS, account.used, strict=True))
                assert booked == {unit: used[unit] for unit in UNITS}, (holder, name, every, period, run, booked, used)

    def check_costs(self) -> None:
        """The report and the budgets are of one mind."""
        assert self.ledger
        self.ledger.flush()
        total = self.spent.get(ALL, Counter())
        for by in KEYS:
            found = costs(self.ledger.reader, by)
            assert {unit: sum(getattr(each, unit) for each in found) for unit in UNITS} == {
                unit: total[unit] for unit in UNITS
            }

    def who(self, run: str, agent: str) -> Principal:
        return Principal(WHO[run.partition("-")[0]], Agent(agent, "1"))

    def tell(self, kind: Kind, run: str, agent: str, step: str = "", **facts: Any) -> None:
        assert self.ledger
        user = self.who(run, agent).user
        common = {"tenant": user.tenant, "unit": user.unit, "principal": user.name, "actor_version": "1"}
        self.ledger.append(Draft(**common, kind=kind, run=run, actor=agent, step=step, **facts))

    def period(self, every: str) -> str:
        """The day or the month that it is, which no clock goes back to; a run has but one."""
        return "" if every == "run" else self.latest.strftime("%Y-%m-%d" if every == "day" else "%Y-%m")

    def places(self, run: str, agent: str) -> list[tuple[str, ...]]:
        """Everything that a use counts for: holder, name, period of what kind, which, and run."""
        root = run.partition("-")[0]
        user = WHO[root]
        names = {"agent": agent, "user": user.name, "unit": user.unit, "tenant": user.tenant}
        found = [("run", root, "run", "", root)]
        for holder, name in names.items():
            found += [(holder, name, every, self.period(every), "") for every in ("day", "month")]
            found.append((holder, name, "run", "", root))
        return found

    def limit(self, holder: str, name: str, every: str, unit: str) -> int:
        if holder == "run":
            return {"calls": 2, "tokens": 90}.get(unit, NO_LIMIT)
        default = {"calls": 5_000, "tokens": 5_000_000, "device_ms": 14_400_000}.get(unit, NO_LIMIT)
        return self.limits.get((holder, name, every), {}).get(
            unit, default if (holder, every) == ("user", "day") else NO_LIMIT
        )

    def ceilings(self, run: str, agent: str) -> Ceilings:
        return {(*place[:3], unit): self.limit(*place[:3], unit) for place in self.places(run, agent) for unit in UNITS}

    def book(self, run: str, agent: str, used: Amount, ceilings: Ceilings) -> None:
        """What was used counts, and no budget is overspent by it."""
        amount = dict(zip(UNITS, used.units, strict=True))
        for place in self.places(run, agent):
            spent = self.spent.setdefault(place, Counter())
            spent.update(amount)
            for unit in UNITS:
                assert not amount[unit] or spent[unit] <= ceilings[*place[:3], unit], (place, unit)
        self.spent.setdefault(ALL, Counter()).update(amount)

    def refused(self, run: str, agent: str, asked: Amount) -> None:
        """A refusal has a reason: some budget would not have reached, had all that is held been used."""
        held: Counter[tuple[str, ...]] = Counter()
        for _, other, by, most, _ in self.held:
            for place in self.places(other, by):
                for unit, number in zip(UNITS, most.units, strict=True):
                    held[(*place, unit)] += number
        assert any(
            self.spent.get(place, Counter())[unit] + held[(*place, unit)] + number
            > self.limit(*place[:3], unit) - (unit == "cost_micros")
            for place in self.places(run, agent)
            for unit, number in zip(UNITS, asked.units, strict=True)
        )


OverspendingTest = Overspending.TestCase
OverspendingTest.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

"""Budgets: what was used and is spoken for, of each run, and each day and month of agents, users, units and tenants.

Reserved before, settled after, and rebuilt from the ledger at start, so that neither a crash nor two calls at once can
overspend. All budgets that concern a call are reserved together or none. What a core that died had reserved is free
again; what it has told the ledger of is spent. It counts; it never decides what a call may do.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from runtime.gate.account import Account
from runtime.gate.amount import Amount
from runtime.gate.calendar import Calendar
from runtime.gate.limits import HOLDERS, PERIODS, Limits
from store.records.errors import BudgetExceeded
from store.records.event import Event
from store.records.identity import Principal
from store.records.usage import Usage

Place = tuple[str, str]
"""A run and a step of it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The tool call of a step, by whom, and its price in millionths."""

    run: str
    step: str
    principal: Principal
    price: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """A part of the budgets that is spoken for until it is settled, in all `accounts` that it concerns."""

    id: int
    amount: Amount
    accounts: tuple[Account, ...]


@dataclass(slots=True)
class Bill:
    """What a model call turned out to cost; filled in while its reservation is held."""

    used: Amount = field(default_factory=Amount)

    def spend(self, tokens: int, device_ms: int, cost_micros: int = 0) -> None:
        """Add tokens (prompt and generated), milliseconds of the device, and what they cost."""
        self.used = self.used.plus(Amount(tokens=tokens, device_ms=device_ms, cost_micros=cost_micros))


class Budgets:
    """All accounts of a site. One event loop owns it.

    `now` tells the time, and `newest` is the latest that the ledger knows of: a clock that is set back begins no new
    day or month. `currency` is for messages.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        zone: str = "UTC",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        newest: datetime | None = None,
        currency: str = "",
    ) -> None:
        self.limits = limits or Limits()
        self.calendar = Calendar(zone, now, newest)
        self._currency = currency
        self._accounts: dict[str, dict[tuple[str, ...], Account]] = defaultdict(dict)
        self._known: dict[str, dict[tuple[str, ...], tuple[Account, ...]]] = defaultdict(dict)
        self._open: dict[int, Reservation] = {}
        self._last = 0
        self._counted: dict[str, set[str]] = defaultdict(set)
        self._charged: dict[str, set[str]] = defaultdict(set)
        self._aside: dict[Place, Reservation] = {}
        self._freed = asyncio.Event()

    def reserve(self, run: str, principal: Principal, amount: Amount) -> Reservation:
        """Speak for `amount`. Raises BudgetExceeded, and holds nothing, if any budget would be overspent."""
        accounts = self._of(run, principal)
        if short := _short(accounts, amount):
            raise self._refused(short, run, amount)
        return self._hold(amount, accounts)

    def settle(self, reservation: Reservation, used: Amount) -> None:
        """Book what was really used, be it less or more, and let go of the rest. A second time does nothing."""
        if self._open.pop(reservation.id, None) is None:
            return
        self._turn()
        for account in reservation.accounts:
            account.settle(reservation.amount.units, used.units)
        self._freed.set()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def model_call(self, run: str, principal: Principal, most: Amount) -> AsyncIterator[Bill]:
        """Hold the `most` that a model call may use for as long as it takes, then book what is on the bill.

        Others may hold what they will not use: while it is only that which is in the way, it is waited for. Raises
        BudgetExceeded before the call. What an agent that died has used is not known here, and not booked.
        """
        accounts = self._of(run, principal)
        while _short(accounts, most) and not _short(accounts, most, held=False):
            await self._freed.wait()
            accounts = self._of(run, principal)
        reservation = self.reserve(run, principal, most)
        bill = Bill()
        try:
            yield bill
        finally:
            self.settle(reservation, bill.used)

    def reserve_call(self, asked: Asked) -> Reservation:
        """Speak for the tool call of a step, or take what was set aside for it. It is counted, and paid for, once,
        however often a resumed run comes past it. Raises BudgetExceeded."""
        if aside := self._aside.pop((asked.run, asked.step), None):
            return aside
        reservation = self.reserve(asked.run, asked.principal, self._new(asked))
        self._count(asked)
        return reservation

    def set_aside(self, calls: Collection[Asked], more: Sequence[Asked]) -> list[Reservation]:
        """Speak for all of these tool calls, to be taken by `reserve_call` one by one, and for others whose steps are
        not known yet: the reservations for those. Raises BudgetExceeded if all do not fit; then none is spoken for."""
        held: list[tuple[Asked, Reservation]] = []
        spare: list[Reservation] = []
        try:
            for each in calls:
                held.append((each, self.reserve(each.run, each.principal, self._new(each))))
            for each in more:
                spare.append(self.reserve(each.run, each.principal, Amount(calls=1, cost_micros=each.price)))
        except BudgetExceeded:
            for reservation in (*(reservation for _, reservation in held), *spare):
                self.settle(reservation, Amount())
            raise
        for each, reservation in held:
            self._aside[each.run, each.step] = reservation
            self._count(each)
        return spare

    def put_back(self, calls: Iterable[Asked]) -> None:
        """Let go of what was set aside for those of these calls that were not made."""
        for each in calls:
            if aside := self._aside.pop((each.run, each.step), None):
                self.settle(aside, Amount())
                if aside.amount.calls:
                    self._counted[each.run].discard(each.step)
                if aside.amount.cost_micros:
                    self._charged[each.run].discard(each.step)

    def replay(self, events: Iterable[Event]) -> None:
        """Learn which budgets people have set, from the ledger or from what was just put there. One that is below what
        is used is a stop."""
        self.limits.replay(events)
        for accounts in self._accounts.values():
            for account in accounts.values():
                account.limit = self._limit(account)

    def book(self, used: Iterable[Usage], allowed: Iterable[Place], charged: Iterable[Place] = ()) -> None:
        """Book what the ledger says was used. `allowed` are run and step of the calls that count no more, `charged`
        those that cost no more. Errs on the side of the budget: a call that was allowed counts, even if the runtime
        died before it made it."""
        for each in used:
            amount = Amount(each.calls, each.tokens, each.device_ms, each.cost_micros).units
            names = {"agent": each.agent, "user": each.user, "unit": each.unit, "tenant": each.tenant}
            for account in self._for(each.run, each.tenant, names):
                if account.every == "run" or each.since == "day" or each.since == account.every:
                    account.add(amount)
        for run, step in allowed:
            self._counted[run].add(step)
        for run, step in charged:
            self._charged[run].add(step)

    def forget(self, run: str) -> None:
        """Drop the accounts of a run that has ended; those of days and months stay."""
        self._counted.pop(run, None)
        self._charged.pop(run, None)
        if "-" in run:
            return
        self._accounts.pop(run, None)
        self._known.pop(run, None)

    def accounts(self) -> list[Account]:
        """Every account of days and months, as it stands now."""
        self._turn()
        return [each for _, each in sorted(self._accounts[""].items())]

    def account(self, tenant: str, holder: str, name: str, every: str, run: str = "") -> Account:
        """One account, also one that nothing was used of yet."""
        place = (tenant, holder, name, every)
        found = self._accounts[run].get(place)
        if found is None:
            found = self._accounts[run][place] = Account(tenant, holder, name, every, run)
            found.limit = self._limit(found)
        return found

    def _of(self, run: str, principal: Principal) -> tuple[Account, ...]:
        """The accounts that a call concerns. A run that another began spends of the budget of the first of them, whose
        id its own begins with."""
        self._turn()
        user, root = principal.user, run.partition("-")[0]
        place = (user.tenant, user.unit, user.name, principal.agent.name)
        found = self._known[root].get(place)
        if found is None:
            names = {"agent": principal.agent.name, "user": user.name, "unit": user.unit, "tenant": user.tenant}
            found = self._known[root][place] = tuple(self._for(root, user.tenant, names))
        return found

    def _for(self, root: str, tenant: str, names: dict[str, str]) -> list[Account]:
        """The accounts of these holders, with those of a run if there is one."""
        found = [self.account(tenant, "run", root, "run", root)] if root else []
        for every in PERIODS if root else PERIODS[1:]:
            run = root if every == "run" else ""
            found += [self.account(tenant, each, names[each], every, run) for each in HOLDERS if names[each]]
        return found

    def _limit(self, account: Account) -> tuple[int, ...]:
        if account.holder == "run":
            return self.limits.run.units
        return self.limits.of(account.tenant, account.holder, account.name, account.every)

    def _turn(self) -> None:
        """Begin a new day, or month, for all: what was used in the last is nobody's concern any more, what is still
        held will be used in this."""
        for every in self.calendar.turned():
            for account in self._accounts[""].values():
                if account.every == every:
                    account.used = [0] * len(account.used)

    def _hold(self, amount: Amount, accounts: tuple[Account, ...]) -> Reservation:
        self._last += 1
        for account in accounts:
            account.hold(amount.units)
        reservation = self._open[self._last] = Reservation(self._last, amount, accounts)
        return reservation

    def _new(self, asked: Asked) -> Amount:
        """What the call of a step adds to what was counted and paid for."""
        calls = 0 if asked.step in self._counted[asked.run] else 1
        return Amount(calls=calls, cost_micros=0 if asked.step in self._charged[asked.run] else asked.price)

    def _count(self, asked: Asked) -> None:
        self._counted[asked.run].add(asked.step)
        if asked.price:
            self._charged[asked.run].add(asked.step)

    def _refused(self, short: tuple[Account, int], run: str, amount: Amount) -> BudgetExceeded:
        account, unit = short
        what = account.refusal(unit, amount.units, self._currency)
        return BudgetExceeded(what, f"run {run}", account.remedy(unit, self.calendar))


def _short(accounts: Iterable[Account], amount: Amount, *, held: bool = True) -> tuple[Account, int] | None:
    """The first account that an amount does not fit in, and the unit; with or without what others hold of it."""
    asked = amount.units
    if any(asked):
        for account in accounts:
            unit = account.short(asked, held)
            if unit is not None:
                return account, unit
    return None

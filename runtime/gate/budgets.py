"""Budgets in local units: calls, tokens and device time, for each run and for each user and day.

Reserved before, settled after, and rebuilt from the ledger at start, so that neither a crash nor two calls at once can
overspend. It counts; it never decides what a call may do.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from store.records.errors import BudgetExceeded
from store.records.event import Event
from store.records.identity import User
from store.records.kinds import Kind


@dataclass(frozen=True, slots=True)
class Amount:
    """So many tool calls, tokens (prompt and generated) and milliseconds of the device."""

    calls: int = 0
    tokens: int = 0
    device_ms: int = 0

    def __post_init__(self) -> None:
        """Refuse negative amounts: they would refill a budget."""
        if min(self.calls, self.tokens, self.device_ms) < 0:
            raise ValueError("an amount cannot be negative")

    def plus(self, other: "Amount") -> "Amount":
        """The sum."""
        return Amount(self.calls + other.calls, self.tokens + other.tokens, self.device_ms + other.device_ms)

    def minus(self, other: "Amount") -> "Amount":
        """The difference. Raises ValueError if it would be negative."""
        return Amount(self.calls - other.calls, self.tokens - other.tokens, self.device_ms - other.device_ms)

    def over(self, limit: "Amount") -> str:
        """The name of the first unit in which this is more than `limit`, or nothing."""
        return next((each.name for each in fields(self) if getattr(self, each.name) > getattr(limit, each.name)), "")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use, and what one user may use on one day (UTC)."""

    run: Amount = Amount(calls=64, tokens=20_000, device_ms=600_000)
    user_day: Amount = Amount(calls=5_000, tokens=5_000_000, device_ms=4 * 3_600_000)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A part of the budgets that is spoken for until it is settled. `accounts` are the ones it is held in."""

    id: int
    amount: Amount
    accounts: tuple[str, ...]


@dataclass(slots=True)
class Bill:
    """What a model call turned out to cost; filled in while its reservation is held."""

    used: Amount = Amount()

    def spend(self, tokens: int, device_ms: int) -> None:
        """Add tokens (prompt and generated) and milliseconds of the device."""
        self.used = self.used.plus(Amount(tokens=tokens, device_ms=device_ms))


class Budgets:
    """The accounts of all runs and users. One event loop owns it; nothing in it waits."""

    def __init__(self, limits: Limits | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._limits = limits or Limits()
        self._now = now
        self._used: dict[str, Amount] = defaultdict(Amount)
        self._held: dict[str, Amount] = defaultdict(Amount)
        self._open: dict[int, Reservation] = {}
        self._last = 0
        self._calls_seen: dict[str, set[str]] = defaultdict(set)

    def reserve(self, run: str, user: User, amount: Amount) -> Reservation:
        """Speak for `amount`. Raises BudgetExceeded, and holds nothing, if any account would be overspent."""
        accounts = self._accounts(run, user.tenant, user.name, self._now().date().isoformat())
        for account, limit in zip(accounts, (self._limits.run, self._limits.user_day), strict=True):
            unit = self._used[account].plus(self._held[account]).plus(amount).over(limit)
            if unit:
                raise BudgetExceeded(
                    f"the budget of {account} is {getattr(limit, unit)} {unit} and would be overspent",
                    f"run {run}",
                    "raise the budget or ask for less",
                )
        self._last += 1
        reservation = Reservation(self._last, amount, accounts)
        for account in accounts:
            self._held[account] = self._held[account].plus(amount)
        self._open[reservation.id] = reservation
        return reservation

    def settle(self, reservation: Reservation, used: Amount) -> None:
        """Book what was really used, be it less or more, and let go of the rest. A second time does nothing."""
        if self._open.pop(reservation.id, None) is None:
            return
        for account in reservation.accounts:
            self._held[account] = self._held[account].minus(reservation.amount)
            self._used[account] = self._used[account].plus(used)

    @asynccontextmanager
    async def model_call(self, run: str, user: User, tokens: int) -> AsyncIterator[Bill]:
        """Hold `tokens` for as long as a model call takes, then book what is on the bill. Raises BudgetExceeded
        before the call. What an agent that died has used is not known here, and not booked."""
        reservation = self.reserve(run, user, Amount(tokens=tokens))
        bill = Bill()
        try:
            yield bill
        finally:
            self.settle(reservation, bill.used)

    def reserve_call(self, run: str, user: User, step: str) -> Reservation:
        """Speak for the tool call of a step. It is counted once, however often a resumed run comes past it. Raises
        BudgetExceeded."""
        again = step in self._calls_seen[run]
        reservation = self.reserve(run, user, Amount(calls=0 if again else 1))
        self._calls_seen[run].add(step)
        return reservation

    def reserve_calls(self, run: str, user: User, steps: Collection[str], more: int) -> tuple[Reservation, Reservation]:
        """Speak for the tool calls of all these steps, each counted once, and for so many more.

        Raises BudgetExceeded if either does not fit; then none is spoken for.
        """
        new = [step for step in steps if step not in self._calls_seen[run]]
        held = self.reserve(run, user, Amount(calls=len(new)))
        try:
            spare = self.reserve(run, user, Amount(calls=more))
        except BudgetExceeded:
            self.settle(held, Amount())
            raise
        self._calls_seen[run].update(new)
        return held, spare

    def left(self, run: str, user: User) -> Amount:
        """What the run may still use: the smaller, unit by unit, of its own rest and its user's rest of the day."""
        rests = []
        accounts = self._accounts(run, user.tenant, user.name, self._now().date().isoformat())
        for account, limit in zip(accounts, (self._limits.run, self._limits.user_day), strict=True):
            spent = self._used[account].plus(self._held[account])
            rests.append([max(0, getattr(limit, each.name) - getattr(spent, each.name)) for each in fields(Amount)])
        return Amount(*(min(pair) for pair in zip(*rests, strict=True)))

    def replay(self, events: Iterable[Event]) -> None:
        """Book what the ledger says was used: the tokens and device time of every event but the sum at a run's end,
        and a call for every step's that was let through. Errs on the side of the budget: a call that was allowed
        counts, even if the runtime died before it made it."""
        for event in events:
            if not event.run or event.kind == Kind.RUN_ENDED:
                continue
            calls = self._calls_of(event)
            amount = Amount(calls, event.tokens, event.device_ms)
            for account in self._accounts(event.run, event.tenant, event.principal, event.time[:10]):
                self._used[account] = self._used[account].plus(amount)

    def forget(self, run: str) -> None:
        """Drop the account of a run that has ended; its user's stays."""
        self._calls_seen.pop(run, None)
        if "-" in run:
            return
        account = _run_account(run)
        self._used.pop(account, None)
        if not any(account in each.accounts for each in self._open.values()):
            self._held.pop(account, None)

    def _calls_of(self, event: Event) -> int:
        if event.kind != Kind.DECISION or event.decision != "allow" or not event.tool:
            return 0
        seen = self._calls_seen[event.run]
        before = len(seen)
        seen.add(event.step)
        return len(seen) - before

    def _accounts(self, run: str, tenant: str, user: str, day: str) -> tuple[str, str]:
        return _run_account(run), f"user {tenant}/{user} on {day}"


def _run_account(run: str) -> str:
    """A run that another began spends of the budget of the first of them, whose id its own begins with."""
    return f"run {run.partition('-')[0]}"

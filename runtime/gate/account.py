"""The account: what one holder may use in one period, has used, and has spoken for. Numbers, in the order of UNITS."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.gate.amount import NO_LIMIT, UNITS, WORDS, written
from runtime.gate.calendar import Calendar

MONEY = UNITS.index("cost_micros")
_SETTINGS = ("calls_per_run", "tokens_per_run")


@dataclass(slots=True)
class Account:
    """One holder's for one period: a run's (`run` names it), the day's or the month's. The holder `run` is the run
    itself, by what the settings allow each."""

    tenant: str
    holder: str
    name: str
    every: str
    run: str = ""
    limit: tuple[int, ...] = (NO_LIMIT,) * len(UNITS)
    used: list[int] = field(default_factory=lambda: [0] * len(UNITS))
    held: list[int] = field(default_factory=lambda: [0] * len(UNITS))

    def short(self, asked: Sequence[int], held: bool = True) -> int | None:
        """The first unit that there is not enough left of; with `held`, what is spoken for is not left.

        Only what is asked for counts, but for money: when that is spent, what costs nothing stops too. A model without
        a price is no way round a budget.
        """
        for unit, number in enumerate(asked):
            if number and self.used[unit] + number + (self.held[unit] if held else 0) > self.limit[unit]:
                return unit
        return MONEY if self.used[MONEY] >= self.limit[MONEY] else None

    def hold(self, asked: Sequence[int]) -> None:
        """Speak for so much."""
        for unit, number in enumerate(asked):
            self.held[unit] += number

    def settle(self, asked: Sequence[int], used: Sequence[int]) -> None:
        """Let go of what was spoken for, and book what was used."""
        for unit, number in enumerate(asked):
            self.held[unit] -= number
            self.used[unit] += used[unit]

    def add(self, used: Sequence[int]) -> None:
        """Book so much."""
        for unit, number in enumerate(used):
            self.used[unit] += number

    def refusal(self, unit: int, asked: Sequence[int], currency: str) -> str:
        """Which budget it is that does not reach, its limit, what was used, what is spoken for, and what was asked."""
        name = UNITS[unit]
        limit, used, held, more = (
            written(name, number, currency)
            for number in (self.limit[unit], self.used[unit], self.held[unit], asked[unit])
        )
        return f"{self} does not reach: limit {limit}, used {used}, spoken for {held}, and this may take {more}"

    def remedy(self, unit: int, calendar: Calendar) -> str:
        """What somebody can do about it."""
        if self.holder == "run":
            named = _SETTINGS[unit] if unit < len(_SETTINGS) else "the run's allowance"
            return f"raise {named} or ask for less"
        flag = WORDS[UNITS[unit]].replace(" ", "-")
        less = ", a shorter step_timeout_s asks for less" if UNITS[unit] in ("device_ms", "cost_micros") else ""
        fresh = "" if self.every == "run" else f", or wait until {calendar.next(self.every):%Y-%m-%d %H:%M} UTC"
        verb = f"bailiwick budget set {self.holder} {self.name} --every {self.every} --{flag} N"
        return f"`{verb}` raises it{less}{fresh}"

    def __str__(self) -> str:
        if self.holder == "run":
            return f"the budget of run {self.name}"
        which = f"run {self.run}" if self.run else f"this {self.every}"
        return f"the budget of {self.holder} {self.name} for {which}"

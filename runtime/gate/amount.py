"""Amounts of the units that budgets are in: tool calls, tokens, device time and money."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

NO_LIMIT = 2**53
"""Stands for no limit; no amount that an event can tell of is as large."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So many tool calls, tokens (prompt and generated), milliseconds of the device and millionths of money."""

    calls: int = 0
    tokens: int = 0
    device_ms: int = 0
    cost_micros: int = 0

    def __post_init__(self) -> None:
        """Refuse negative amounts: they would refill a budget."""
        if min(self.units) < 0:
            raise ValueError("an amount cannot be negative")

    @property
    def units(self) -> tuple[int, ...]:
        """The numbers, in the order of UNITS."""
        return self.calls, self.tokens, self.device_ms, self.cost_micros

    def plus(self, other: "Amount") -> "Amount":
        """The sum."""
        return Amount(*map(sum, zip(astuple(self), astuple(other), strict=True)))


UNITS = tuple(each.name for each in fields(Amount))
WORDS: Mapping[str, str] = {"calls": "calls", "tokens": "tokens", "device_ms": "device seconds", "cost_micros": "money"}
"""What people call the units."""


def written(unit: str, number: int, currency: str = "") -> str:
    """So much of a unit, as people read it."""
    if number >= NO_LIMIT:
        return "no limit"
    if unit == "device_ms":
        return f"{number / 1000:,.3f} s"
    return money(number, currency) if unit == "cost_micros" else f"{number:,} {unit}"


def money(micros: int, currency: str = "") -> str:
    """An amount of money, exactly, with two decimals at least."""
    whole, rest = divmod(micros, 1_000_000)
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{whole:,}.{decimals} {currency}".rstrip()

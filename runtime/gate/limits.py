"""Limits: what each budget allows, by default and as people have set it. They are kept as events, so that they survive.

A budget is an agent's, a user's, a business unit's or a tenant's, for each run, day or month. One that names nobody
(`*`) is for each of them alone. What a narrower one does not say, a broader one does. Nothing here counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runtime.gate.amount import NO_LIMIT, UNITS, Amount
from store.records.errors import SettingsError
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind

HOLDERS = ("agent", "user", "unit", "tenant")
PERIODS = ("run", "day", "month")
EACH = "*"

RUN = Amount(calls=64, tokens=20_000, device_ms=NO_LIMIT, cost_micros=NO_LIMIT)
"""What one run may use, with those that it begins, unless the settings say otherwise."""
USER_DAY = Amount(calls=5_000, tokens=5_000_000, device_ms=4 * 3_600_000, cost_micros=NO_LIMIT)
"""What one user may use on one day, unless somebody has set it otherwise."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one holder of a tenant may use in each period, by unit; a unit that is not named is left as it was."""

    tenant: str
    holder: str
    name: str
    every: str
    limit: Mapping[str, int]

    def __post_init__(self) -> None:
        """Raise SettingsError for a budget that cannot be."""
        if self.holder not in HOLDERS or self.every not in PERIODS:
            raise SettingsError(f"no budget is {self.holder}'s, every {self.every}", do="see `bailiwick budget set -h`")
        if not self.limit or set(self.limit) - set(UNITS):
            raise SettingsError("a budget says how much of something may be used", do=f"name one of {', '.join(UNITS)}")
        if any(type(each) is not int or not 0 <= each <= NO_LIMIT for each in self.limit.values()):
            raise SettingsError("a limit is a whole number from 0 to 2**53", do="write a smaller one")
        if not 0 < len(self.name) <= 200 or not self.name.isprintable():
            raise SettingsError("a budget is for somebody", do=f"name them, or {EACH!r} for each")
        if self.holder == "tenant" and self.name not in (EACH, self.tenant):
            raise SettingsError(f"a budget of the tenant {self.name} is not yours to set", do="ask an admin there")

    def draft(self, by: User) -> Draft:
        """The event that says it. All of it is in the event itself: no shredding of content undoes a limit."""
        from runtime.conductor.scope import CORE_VERSION  # late: the conductor knows the gate

        return Draft(
            kind=Kind.BUDGET_SET,
            tenant=self.tenant,
            unit=by.unit,
            actor="gateway",
            actor_version=CORE_VERSION,
            principal=by.name,
            decision=f"{self.holder}/{self.every}/{self.name}",
            step=" ".join(f"{unit}={self.limit[unit]}" for unit in UNITS if unit in self.limit),
        )

    @classmethod
    def parse(cls, event: Event) -> "Budget":
        """The budget that an event says. Raises SettingsError, ValueError if it says none."""
        holder, every, name = event.decision.split("/", 2)
        pairs = (each.split("=") for each in event.step.split())
        return cls(event.tenant, holder, name, every, {unit: int(number) for unit, number in pairs})


@dataclass
class Limits:
    """All limits of a site. `run` bounds each run whatever else is set; `user_day` is each user's, until that is."""

    run: Amount = RUN
    user_day: Amount = USER_DAY
    _set: dict[tuple[str, str, str, str], dict[str, int]] = field(default_factory=dict)
    _by: dict[tuple[str, str, str, str], str] = field(default_factory=dict)

    def replay(self, events: Iterable[Event]) -> None:
        """Learn from the ledger, in order, or from what was just put there."""
        for event in events:
            budget = Budget.parse(event)
            place = budget.tenant, budget.holder, budget.name, budget.every
            self._set.setdefault(place, {}).update(budget.limit)
            self._by[place] = event.principal

    def of(self, tenant: str, holder: str, name: str, every: str) -> tuple[int, ...]:
        """What a holder may use in such a period, in the order of UNITS."""
        own = self._set.get((tenant, holder, name, every), {})
        each = self._set.get((tenant, holder, EACH, every), {})
        least = self.user_day.units if (holder, every) == ("user", "day") else (NO_LIMIT,) * len(UNITS)
        return tuple(own.get(unit, each.get(unit, default)) for unit, default in zip(UNITS, least, strict=True))

    def rules(self) -> list[tuple[str, str, str, str, str]]:
        """Tenant, holder, name and period of every budget that was set, and who set it last."""
        return sorted((*place, by) for place, by in self._by.items())

"""Budgets as people see and set them, and as a core is started with: the gate's, over a ledger and the settings.

Nothing here counts or decides; setting one is an event first.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from runtime.gate.account import Account
from runtime.gate.amount import NO_LIMIT, UNITS, Amount
from runtime.gate.budgets import Budgets
from runtime.gate.limits import EACH, Budget, Limits
from runtime.gateway.messages import BudgetSpec, BudgetView
from runtime.reading import Reach
from runtime.settings import Settings
from store.ledger.ledger import Ledger
from store.ledger.reader import EVERYTHING
from store.ledger.usage import allowed, charged, newest_time, usage
from store.records.errors import Denied, SettingsError
from store.records.identity import User
from store.records.kinds import Kind


def budgets_of(ledger: Ledger, settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Budgets:
    """The budgets of a site, with all that its ledger says was set and used. What a core that died had reserved is
    free again. `now` tells the time."""
    reader = ledger.reader
    run = Amount(settings.calls_per_run, settings.tokens_per_run, NO_LIMIT, NO_LIMIT)
    budgets = Budgets(
        Limits(run=run),
        zone=settings.budget_zone,
        now=now,
        newest=newest_time(reader),
        currency=settings.rates.currency,
    )
    budgets.replay(ledger.events(kinds=[Kind.BUDGET_SET], limit=EVERYTHING))
    begin = budgets.calendar.begin
    budgets.book(usage(reader, begin("day"), begin("month")), allowed(reader), charged(reader))
    return budgets


@dataclass(frozen=True)
class Budgeting:
    """The budgets of one ledger, for one user. `live` are the core's; without it nobody has spoken for anything."""

    ledger: Ledger
    settings: Settings
    user: User
    live: Budgets | None = None

    async def budgets(self) -> list[BudgetView]:
        """As Verbs.budgets."""
        if self.live is not None:
            return self._views(self.live)
        return self._views(await asyncio.to_thread(budgets_of, self.ledger, self.settings))

    async def set_budget(self, budget: BudgetSpec) -> None:
        """As Verbs.set_budget. In force once it is on disk."""
        if "admin" not in self.user.roles:
            raise Denied(f"{self.user.name} may not set budgets", do="ask someone with the role admin")
        spec = Budget(self.user.tenant, budget.holder, budget.name, budget.every, budget.limit)
        if spec.limit.get("cost_micros", NO_LIMIT) not in (0, NO_LIMIT) and not self.settings.rates.charges:
            what = "the site has no rates, so money would never be spent and this budget never stop anything"
            raise SettingsError(what, "setting rates", "say there what models and tools cost, or budget another unit")
        event = await self.ledger.append(spec.draft(self.user)).durable()
        if self.live is not None:
            self.live.replay([event])

    def _views(self, budgets: Budgets) -> list[BudgetView]:
        """Of every holder with a limit that has used something or has a budget of their own; and what each has."""
        reach = Reach.of(self.user)
        rules = {rule[:4]: rule[4] for rule in budgets.limits.rules()}
        for tenant, holder, name, every in rules:
            if name != EACH and every != "run":
                budgets.account(tenant, holder, name, every)
        each = [
            (tenant, holder, name, every) for tenant, holder, name, every in rules if name == EACH or every == "run"
        ]
        views = [_rule(budgets, *rule) for rule in [*each, *_defaults(self.user.tenant, each)]]
        views += [_standing(account) for account in budgets.accounts() if min(account.limit) < NO_LIMIT]
        by_place = {(view.tenant, view.holder, view.name, view.every): view for view in views}
        return [
            view.model_copy(update={"set_by": rules.get(place) or rules.get((*place[:2], EACH, place[3]), "")})
            for place, view in sorted(by_place.items())
            if reach.covers(view.tenant)
        ]


def _defaults(tenant: str, known: list[tuple[str, str, str, str]]) -> list[tuple[str, str, str, str]]:
    """The budgets that are there before anybody has set one, but for those in `known`."""
    found = [(tenant, "run", EACH, "run"), (tenant, "user", EACH, "day")]
    return [each for each in found if each not in known]


def _rule(budgets: Budgets, tenant: str, holder: str, name: str, every: str) -> BudgetView:
    """What is allowed to somebody for each run, or to each for a period."""
    limits = budgets.limits
    limit = limits.run.units if holder == "run" else limits.of(tenant, holder, name, every)
    return BudgetView(tenant=tenant, holder=holder, name=name, every=every, limit=_named(limit))


def _standing(account: Account) -> BudgetView:
    return BudgetView(
        tenant=account.tenant,
        holder=account.holder,
        name=account.name,
        every=account.every,
        limit=_named(account.limit),
        used=dict(zip(UNITS, account.used, strict=True)),
        held=dict(zip(UNITS, account.held, strict=True)),
    )


def _named(limit: tuple[int, ...]) -> dict[str, int]:
    """The limits that there are, by unit."""
    return {unit: number for unit, number in zip(UNITS, limit, strict=True) if number < NO_LIMIT}

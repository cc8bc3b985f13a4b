"""`bailiwick budget` and `bailiwick costs`: what may be used, by whom and when; what was, and for how much."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

import typer

from runtime.cli.page import plain, show, table, told
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from runtime.gate.amount import NO_LIMIT, UNITS, money, written
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.gateway.messages import BudgetView, CostView

app = noun("Budgets: what agents, users, business units and the tenant may use, in each run, day or month.")

Number = Annotated[str | None, typer.Option(metavar="N|none", help="How many; `none` is no limit.")]
NONE = "none"


def register(app: typer.Typer) -> None:
    """Add the verb `costs` to the top group."""
    verb(app, "costs")(costs)


@verb(app, "list")
def list_budgets(site: Site, json: AsJson = False) -> None:
    """Every budget, its limits, what was used of it in this day or month, and who set it."""
    from runtime.cli.backend import budgeting

    settings = site.settings()

    async def ask() -> "list[BudgetView]":
        async with budgeting(settings) as b:
            return await b.budgets()

    found = wait_for(ask())
    if json:
        show([each.model_dump(mode="json") for each in found])
        return
    rows = []
    for each in found:
        who = each.set_by or "default"
        for unit, limit in each.limit.items():
            used, held = (
                written(unit, numbers[unit], settings.rates.currency) if unit in numbers else "-"
                for numbers in (each.used, each.held)
            )
            shown = written(unit, limit, settings.rates.currency)
            rows.append((f"{each.holder} {each.name}", each.every, shown, used, held, each.tenant, who))
    table(("BUDGET", "EVERY", "LIMIT", "USED", "HELD", "TENANT", "SET BY"), rows)


@verb(app, "set")
def set_budget(
    site: Site,
    holder: Annotated[Literal["agent", "user", "unit", "tenant"], typer.Argument(help="Whose budget it is.")],
    name: Annotated[str, typer.Argument(help="Their name; `*` is each of them.")],
    every: Annotated[Literal["run", "day", "month"], typer.Option(help="The time it is for.")],
    calls: Number = None,
    tokens: Number = None,
    device_seconds: Number = None,
    price: Annotated[
        str | None,
        typer.Option("--money", metavar="N|none", help="In the site's currency, as in 12.50, or `none`."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Set a budget. Needs the role admin. What is below what was used already is a stop, at once."""
    from runtime.cli.backend import budgeting
    from runtime.gateway.messages import BudgetSpec

    given = {"calls": calls, "tokens": tokens, "device_ms": device_seconds, "cost_micros": price}
    scale = {"calls": 0, "tokens": 0, "device_ms": 3, "cost_micros": 6}
    limit = {unit: _number(text, scale[unit]) for unit, text in given.items() if text is not None}
    if not limit:
        raise SettingsError("that sets no limit", do="give --calls, --tokens, --device-seconds or --money")
    spec = BudgetSpec(holder=holder, name=name, every=every, limit=limit)
    settings = site.settings()

    async def ask() -> None:
        async with budgeting(settings, write=True) as b:
            await b.set_budget(spec)

    wait_for(ask())
    limits = ", ".join(written(unit, limit[unit], settings.rates.currency) for unit in UNITS if unit in limit)
    told(json, spec.model_dump(mode="json"), plain(f"{holder} {name}, every {every}: {limits}"))


def costs(
    site: Site,
    by: Annotated[
        Literal["agent", "user", "unit", "workflow", "model", "tool"], typer.Option(help="What to sum up by.")
    ] = "workflow",
    since: Annotated[str, typer.Option(metavar="DATE", help="The first day, as in 2026-11-01.")] = "",
    until: Annotated[str, typer.Option(metavar="DATE", help="The last day.")] = "",
    json: AsJson = False,
) -> None:
    """What runs have used and what that cost, and how much it is for each that was successful."""
    from runtime.cli.backend import queries

    settings = site.settings()
    zone = ZoneInfo(settings.budget_zone)
    begin, end = _midnight(since, zone, 0), _midnight(until, zone, 1)
    if begin and end and begin >= end:
        raise SettingsError(f"--until {until} is before --since {since}", do="exchange them")

    async def ask() -> "list[CostView]":
        async with queries(settings) as q:
            return await q.costs(by, begin, end)

    found = wait_for(ask())
    if json:
        show([each.model_dump(mode="json") for each in found])
        return
    columns = (by.upper(), "TENANT", "RUNS", "SUCCESSFUL", "CALLS", "TOKENS", "DEVICE S", "MONEY", "EACH SUCCESS")
    currency = settings.rates.currency
    rows = [
        (
            _name(each),
            each.tenant,
            each.runs,
            each.successful,
            each.calls,
            each.tokens,
            f"{each.device_ms / 1000:.3f}",
            money(each.cost_micros, currency),
            "-" if each.micros_per_success is None else money(each.micros_per_success, currency),
        )
        for each in found
    ]
    table(columns, rows)


def _name(cost: "CostView") -> str:
    """What stands for a key: a model's name with the beginning of its digest."""
    return f"{cost.name} {cost.key[:8]}" if cost.name else cost.key[:64] or "-"


def _number(text: str, places: int) -> int:
    """A number with so many decimals at most, as a whole number of the last of them. Raises SettingsError."""
    if text == NONE:
        return NO_LIMIT
    found = re.fullmatch(rf"(\d{{1,15}})(?:\.(\d{{1,{max(places, 1)}}}))?", text, re.ASCII)
    if not found or (found[2] and not places):
        decimals = f" with at most {places} decimals" if places else ""
        raise SettingsError(f"{text[:40]!r} is no limit", do=f"give a number{decimals}, or `{NONE}`")
    return min(int(found[1] + (found[2] or "").ljust(places, "0")), NO_LIMIT)


def _midnight(day: str, zone: ZoneInfo, later: int) -> str:
    """When a day, or so many days later, begins in a zone, as a time in UTC; empty if none is given."""
    if not day:
        return ""
    try:
        found = date.fromisoformat(day) + timedelta(days=later)
        return datetime(found.year, found.month, found.day, tzinfo=zone).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise SettingsError(f"{day[:40]!r} is no date", do="write it as in 2026-11-01") from None

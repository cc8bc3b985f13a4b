"""`bailiwick grants`: yeses given beforehand, to calls of a narrow kind, until a date.

A grant is shown verbatim before it is saved, and saved only by who says how its digest begins.
"""

import json as text_of
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.page import block, plain, show, table, told
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.gateway.messages import GrantView

app = noun("Grants: say yes beforehand to calls of a narrow kind, until a date; take it back.")

Name = Annotated[str, typer.Option(metavar="NAME", help="Only this one's calls; anybody's if not given.")]


@verb(app, "list")
def list_grants(site: Site, json: AsJson = False) -> None:
    """All grants of your tenant, how they stand, and how often they were used."""
    found: list[GrantView] = _do(site, "grants")
    if json:
        show([each.model_dump(mode="json") for each in found])
        return
    rows = []
    for each in found:
        grant = each.grant
        used = f"{each.used}" if grant["times"] is None else f"{each.used} of {grant['times']}"
        rows.append((each.id, each.state, grant["author"], grant["tool"], grant["until"], used, grant["arguments"]))
    table(("GRANT", "STATE", "BY", "TOOL", "UNTIL", "USED", "ARGUMENTS"), rows)


@verb(app, "add")
def add(
    site: Site,
    tool: Annotated[str, typer.Option(metavar="NAME", help="The tool.")],
    until: Annotated[str, typer.Option(metavar="DATE", help="When it ends, at most a year from now: 2026-12-31.")],
    arguments: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A value that an argument may have; several of one name are a set."),
    ] = None,
    user: Name = "",
    agent: Name = "",
    workflow: Name = "",
    times: Annotated[int | None, typer.Option(min=1, help="How often it may be used; any number if not given.")] = None,
    irreversible: Annotated[bool, typer.Option("--irreversible", help="It also covers what cannot be undone.")] = False,
    digest: Annotated[
        str, typer.Option(metavar="DIGEST", help="The first 8 characters of the digest that was shown; saves it.")
    ] = "",
    json: AsJson = False,
) -> None:
    """Show a grant as it would be saved; save it once you have typed how its digest begins."""
    from runtime.gateway.messages import GrantSpec

    spec = GrantSpec(
        tool=tool,
        arguments=values(arguments or []),
        user=user,
        agent=agent,
        workflow=workflow,
        until=until,
        times=times,
        irreversible=irreversible,
    )
    proposed: GrantView = _do(site, "propose_grant", spec)
    if not json:
        _print(proposed)
    saved: GrantView = _do(site, "add_grant", spec, digest or _typed(proposed))
    if json:
        show(saved.model_dump(mode="json"))
        return
    print(f"\nsaved: {saved.id}")


@verb(app, "revoke")
def revoke(
    site: Site,
    grant: Annotated[str, typer.Argument(help="A grant's id.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in your own words; it is kept in the ledger.")] = "",
    json: AsJson = False,
) -> None:
    """Let a grant do nothing from now on."""
    _do(site, "revoke_grant", grant, reason)
    told(json, {"revoked": grant}, f"revoked: {plain(grant)}")


def _print(view: "GrantView") -> None:
    from runtime.shown import written_grant

    for name, value in written_grant(view):
        block(name, value)


def _typed(view: "GrantView") -> str:
    """What the person types who has read the grant. Raises SettingsError where there is nobody to type."""
    if not sys.stdin.isatty():
        do = f"look at it, then give it with --digest {view.digest[:8]}"
        raise SettingsError("a grant is saved by the first 8 characters of its digest", "flag --digest", do)
    print("\nTo save it, type the first 8 characters of its digest: ", end="", flush=True)
    return sys.stdin.readline().strip()


def values(given: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The values by argument. A value is JSON if it can be read as such, else text."""
    found: dict[str, tuple[Any, ...]] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise SettingsError("an argument is given as NAME=VALUE", each[:40])
        found[name] = (*found.get(name, ()), _value(value))
    return found


def _value(text: str) -> Any:
    try:
        return text_of.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return text


def _do(site: Site, name: str, *arguments: Any) -> Any:
    """The answer to a verb of the runtime that is up. Raises Unreachable if none is."""
    from runtime.cli.backend import client

    async def ask() -> Any:
        async with client(site.settings()) as c:
            return await getattr(c, name)(*arguments)

    return wait_for(ask())

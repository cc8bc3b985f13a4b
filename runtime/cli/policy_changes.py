"""`bailiwick policy reload|proposed|approve`: other policies for a runtime that is up, and somebody's word on them."""

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import facts, plain, show
from runtime.cli.site import AsJson, Site, verb, wait_for

if TYPE_CHECKING:
    from runtime.gate.policy_diff import Difference
    from runtime.gateway.client import Client
    from runtime.gateway.messages import PolicyChangeView


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verb(app, "reload")(reload)
    verb(app, "proposed")(proposed)
    verb(app, "approve")(approve)


def reload(site: Site, json: AsJson = False) -> None:
    """Have the runtime read its policies anew, check and test them, and propose them. Needs the role admin."""
    from runtime.cli.backend import client

    async def ask() -> "tuple[PolicyChangeView, Difference]":
        async with client(site.settings()) as c:
            view = await c.propose_policy()
            return view, await _difference(c, view)

    _print(*wait_for(ask()), json)


def proposed(site: Site, json: AsJson = False) -> None:
    """The policies that wait for somebody's word, and what they would change."""
    from runtime.cli.backend import client

    async def ask() -> "list[tuple[PolicyChangeView, Difference]]":
        async with client(site.settings()) as c:
            return [(view, await _difference(c, view)) for view in await c.proposed_policy()]

    found = wait_for(ask())
    for view, difference in found:
        _print(view, difference, json)
    if not found:
        print("{}" if json else "no policies are proposed")


def approve(
    site: Site,
    digest: Annotated[str, typer.Argument(help="The first 8 characters of their digest, or more.")],
    meaning: Annotated[str, typer.Option(metavar="TEXT", help="What you declare by it; kept in the ledger.")] = "",
    json: AsJson = False,
) -> None:
    """Let the proposed policies be in force. Needs the role approver or admin; not who proposed them, in a service."""
    from runtime.cli.backend import client

    async def ask() -> "PolicyChangeView":
        async with client(site.settings()) as c:
            return await c.approve_policy(digest, meaning)

    view = wait_for(ask())
    if json:
        show(view.model_dump(mode="json"))
        return
    print(f"in force: {plain(view.digest)}")


async def _difference(client: "Client", view: "PolicyChangeView") -> "Difference":
    """What changes from the policies in force to those that are proposed, for the tools that the runtime has; if it has
    none, for any."""
    from runtime.explaining import policy_of
    from runtime.gate.policy_diff import difference

    old, new = policy_of(await client.policy(view.in_force)), policy_of(await client.policy(view.digest))
    return difference(old.files, new.files, new.records or None, new.inventory)


def _print(view: "PolicyChangeView", difference: "Difference", json: bool) -> None:
    from dataclasses import asdict

    from runtime.cli.policy import print_difference

    if json:
        show({**view.model_dump(mode="json"), "difference": asdict(difference)})
        return
    facts({"proposed_by": view.by, "digest": view.digest, "in_force": view.in_force})
    print_difference(difference, json=False)
    print(f"to have them in force: bailiwick policy approve {view.digest[:8]}")

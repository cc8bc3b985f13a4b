"""`bailiwick halt`: the switch that stops every effect at once."""

from typing import Annotated

import typer

from runtime.cli.page import told
from runtime.cli.site import AsJson, Site, verb, wait_for


def register(app: typer.Typer) -> None:
    """Add the verb to the top group."""
    verb(app, "halt")(halt)


def halt(
    site: Site,
    release: Annotated[bool, typer.Option("--release", help="Let effects begin again.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, in your own words; it is kept in the ledger.")] = "",
    json: AsJson = False,
) -> None:
    """Let no effect begin any more, in any run, until it is released; it outlasts restarts.

    What is under way comes to its outcome. Anybody may halt; approvers and administrators release.
    """
    from runtime.cli.backend import client

    async def ask() -> list[str]:
        async with client(site.settings()) as c:
            if not release:
                await c.halt(reason)
                return []
            return await c.release(reason)

    runs = wait_for(ask())
    if release:
        told(json, {"halted": False, "runs": runs}, f"released: {len(runs)} runs go on")
    else:
        told(json, {"halted": True}, "halted: no effect begins until `bailiwick halt --release`")

"""`bailiwick queues`: what may run at a time and a minute, and who waits for a place."""

from typing import TYPE_CHECKING

import typer

from runtime.cli.page import show, table
from runtime.cli.site import AsJson, Site, verb, wait_for

if TYPE_CHECKING:
    from runtime.gateway.messages import QueueView


def register(app: typer.Typer) -> None:
    """Add the verb to the top group."""
    verb(app, "queues")(queues)


def queues(site: Site, json: AsJson = False) -> None:
    """Every queue: its limits, how many of its runs are driven, and how many wait."""
    from runtime.cli.backend import client

    async def ask() -> "list[QueueView]":
        async with client(site.settings()) as c:
            return await c.queues()

    found = wait_for(ask())
    if json:
        show([each.model_dump(mode="json") for each in found])
        return
    columns = ("QUEUE", "RUNNING", "OF", "A MINUTE", "TENANT", "A MINUTE", "QUEUED", "OLDEST SINCE")
    table(
        columns,
        [
            (
                each.queue,
                each.running,
                each.concurrency or "any",
                each.per_minute or "any",
                each.tenant_concurrency or "any",
                each.tenant_per_minute or "any",
                each.queued,
                each.oldest[:19].replace("T", " ") or "-",
            )
            for each in found
        ],
    )

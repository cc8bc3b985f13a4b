"""`bailiwick runs`: what was asked of this runtime, and what became of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import facts, show, table
from runtime.cli.site import AsJson, Site, noun, verb, wait_for

if TYPE_CHECKING:
    from runtime.gateway.messages import EventView, RunView

app = noun("Runs: list them, or see one step by step.")


@verb(app, "list")
def list_runs(
    site: Site,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    json: AsJson = False,
) -> None:
    """The newest runs."""
    from runtime.cli.backend import queries
    from runtime.diagnostics import say

    async def ask() -> "list[RunView]":
        async with queries(site.settings()) as q:
            return await q.runs(limit)

    found = wait_for(ask())
    if json:
        show([run.model_dump(mode="json") for run in found])
        return
    columns = ("RUN", "STATUS", "BY", "WORKFLOW", "STARTED", "EVENTS", "TOKENS", "TASK")
    table(
        columns,
        [
            (r.run, r.status, r.resolved_by or "-", r.workflow or "-", _minute(r.started), r.events, r.tokens, r.task)
            for r in found
        ],
    )
    idle = sum(run.status == "interrupted" for run in found)
    if idle:
        say(f"nobody drives the {idle} interrupted: `bailiwick resume` does, or `bailiwick resume RUN` for one of them")


@verb(app, "show")
def show_run(
    site: Site,
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    payloads: Annotated[bool, typer.Option("--payloads", help="Prompts, arguments and results, too.")] = False,
    json: AsJson = False,
) -> None:
    """One run and its events."""
    from runtime.cli.backend import queries

    async def ask() -> "tuple[RunView, list[EventView]]":
        async with queries(site.settings()) as q:
            found = await q.run(run)
            events: list[EventView] = []
            while page := await q.events(events[-1].event["seq"] if events else 0, found.run, payloads=payloads):
                events += page
            return found, events

    view, events = wait_for(ask())
    if json:
        show({**view.model_dump(mode="json"), "trail": [event.model_dump(mode="json") for event in events]})
        return
    facts(view.model_dump(mode="json"))
    print()
    from runtime.cli.audit import print_events

    print_events(events, run=False)


def _minute(time: str) -> str:
    """A time as people read it; `runs show` and --json have it to the microsecond."""
    return time[:16].replace("T", " ")

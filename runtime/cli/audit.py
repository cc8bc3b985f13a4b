"""`bailiwick audit`: the ledger as an auditor reads it. Exit code 7 if it is not what was recorded."""

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import INDENT, plain, row, show, table
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import INTEGRITY, OK

if TYPE_CHECKING:
    from runtime.gateway.messages import EventView, TableView, VerifyView

app = noun("The audit trail: read it, check it, query it.")


@verb(app, "tail")
def tail(
    site: Site,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100_000, help="How many of the last events.")] = 20,
    after: Annotated[int, typer.Option(min=0, help="All events above this number instead.")] = 0,
    run: Annotated[str, typer.Option(help="Only this run's.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with those to come; needs a runtime.")] = False,
    payloads: Annotated[bool, typer.Option("--payloads", help="Prompts, arguments and results, too.")] = False,
    json: AsJson = False,
) -> None:
    """The last events, a line each."""
    wait_for(_tail(site, count, after, run, follow, payloads, json))


async def _tail(site: Site, count: int, after: int, run: str, follow: bool, payloads: bool, json: bool) -> None:
    from runtime.cli.backend import client, queries

    settings = site.settings()
    async with queries(settings) as q:
        name = (await q.run(run)).run if run else ""
        last: list[EventView] = []
        at = after
        while page := await q.events(at, name, payloads=payloads):
            at = page[-1].event["seq"]
            last = (last + page) if after else (last + page)[-count:]
        print_events(last, json)
    if follow:
        async with client(settings) as c:
            async for event in c.follow(at, name, payloads):
                print_events([event], json)


@verb(app, "verify")
def verify(site: Site, json: AsJson = False) -> int:
    """Recompute every hash and compare every column; exit code 7 on any difference."""
    from runtime.cli.backend import queries
    from runtime.diagnostics import say

    async def ask() -> "VerifyView":
        async with queries(site.settings()) as q:
            return await q.verify()

    found = wait_for(ask())
    if json:
        show(found.model_dump(mode="json"))
    else:
        for problem in found.problems:
            print(plain(problem))
        if found.ok:
            print(f"ok: {found.events} events, each as it was recorded")
    if not found.ok:
        say(f"the ledger is not what was recorded: {len(found.problems)} problems in {found.events} events")
    return OK if found.ok else INTEGRITY


@verb(app, "sql")
def sql(site: Site, query: Annotated[str, typer.Argument(help="One SELECT.")], json: AsJson = False) -> None:
    """The rows of one SELECT over the tables of the ledger; no files, limited time and memory."""
    from runtime.cli.backend import queries
    from runtime.diagnostics import say

    async def ask() -> "TableView":
        async with queries(site.settings()) as q:
            return await q.sql(query)

    found = wait_for(ask())
    if json:
        show(found.model_dump(mode="json"))
    else:
        table(found.columns, found.rows)
    if found.truncated:
        say(f"there are more rows than these {len(found.rows)}; narrow the query, or aggregate")


def print_events(events: "list[EventView]", json: bool = False, *, run: bool = True) -> None:
    """A line for each event on stdout, with or without its run; with payloads, another for each."""
    for view in events:
        if json:
            show(view.model_dump(mode="json"))
            continue
        e = view.event
        what = " ".join(plain(e[key]) for key in ("kind", "step", "tool", "decision") if e[key])
        cost = f"  {e['tokens']} tokens" if e["tokens"] else ""
        of = f"{plain(e['run']):<19}  " if run else ""
        row(f"{e['seq']:>6}  {e['time'][11:23]}  {of}{plain(e['actor']):<9}  ", what + cost)
        if view.payload is not None:
            row(" " * INDENT, plain(view.payload))

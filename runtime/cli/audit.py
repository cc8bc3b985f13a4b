"""`bailiwick audit`: the ledger as an auditor reads it. Exit code 7 if it is not what was recorded."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import INDENT, plain, row, show, table
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import INTEGRITY, OK, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from runtime.gateway.backend import Queries
    from runtime.gateway.messages import EventView, ProofView, TableView, VerifyView

app = noun("The audit trail: read it, check it, query it, prove it.")

NOTE_CHARS = 2**16
"""Of a checkpoint's file; one has a few hundred."""


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
    from runtime.cli.backend import client, pages, queries

    settings = site.settings()
    async with queries(settings) as q:
        name = (await q.run(run)).run if run else ""
        last: list[EventView] = []
        at = after
        while page := await q.events(at, name):
            at = page[-1].event["seq"]
            last = (last + page) if after else (last + page)[-count:]
        if payloads and last:  # only of those that are shown: such reads are on record
            last = await pages(q, last[0].event["seq"] - 1, name, payloads=True, most=len(last))
    print_events(last, json)
    if follow:
        async with client(settings) as c:
            async for event in c.follow(at, name, payloads):
                print_events([event], json)


@verb(app, "verify")
def verify(
    site: Site,
    folder: Annotated[Path | None, typer.Argument(help="An audit folder; the ledger itself if not given.")] = None,
    key: Annotated[str, typer.Option(metavar="FINGERPRINT", help="The key that must have signed it.")] = "",
    json: AsJson = False,
) -> int:
    """Recompute every hash and signature and compare every column; exit code 7 on any difference."""
    from runtime.cli.backend import queries
    from runtime.diagnostics import say

    key = _fingerprint(key)
    if folder:
        site.on("nothing")

    async def ask() -> "VerifyView":
        async with queries(site.settings()) as q:
            found = await q.verify()
        if key in ("", found.fingerprint):
            return found.model_copy(update={"authenticated": bool(key)})
        wrong = f"the key is not the pinned one, so all may be forged: it is {found.fingerprint}"
        return found.model_copy(update={"ok": False, "problems": (*found.problems, wrong)})

    found = _folder(folder, key) if folder else wait_for(ask())
    if json:
        show(found.model_dump(mode="json"))
    else:
        for problem in found.problems:
            print(plain(problem))
        if found.ok:
            tail = f"; the last {found.unsigned} are not signed yet" if found.unsigned else ""
            gone = f"; {found.destroyed} payloads are destroyed, as it says" if found.destroyed else ""
            how = "each as it was recorded" if found.authenticated else "consistent, unauthenticated"
            own = "" if found.authenticated else f": no key was pinned; the ledger's own is {found.fingerprint}"
            print(f"ok: {found.events} events, {how}{gone}{tail}{own}")
        if found.locked:
            say(f"no content was opened: {found.locked}")
    if not found.ok:
        say(f"the ledger is not what was recorded: {len(found.problems)} problems in {found.events} events")
    return OK if found.ok else INTEGRITY


def _fingerprint(text: str) -> str:
    """The fingerprint of a key, as it was typed. Raises SettingsError if it is none."""
    if text and not re.fullmatch("[0-9a-fA-F]{64}", text):
        do = "`bailiwick audit checkpoint --json` shows the key's: 64 hex digits"
        raise SettingsError("this is no fingerprint of a key", f"--key {text[:80]}", do)
    return text.lower()


def _folder(folder: Path, key: str) -> "VerifyView":
    from runtime.gateway.messages import VerifyView
    from store.verify import Invalid, audit

    if folder.is_file():
        do = "name its folder; store/verify.py checks single proofs"
        raise SettingsError("this is a file, not an audit folder", str(folder), do)
    try:
        found = audit(folder, key)
    except (OSError, Invalid) as error:
        raise SettingsError(f"this is no audit folder: {error}", str(folder)) from None
    return VerifyView(
        ok=not found.problems,
        events=found.events,
        problems=found.problems,
        fingerprint=found.fingerprint,
        destroyed=found.destroyed,
        authenticated=key == found.fingerprint,
    )


@verb(app, "prove")
def prove(
    site: Site,
    event: Annotated[int, typer.Argument(min=0, help="The number of an event.")] = 0,
    since: Annotated[Path | None, typer.Option(metavar="FILE", help="A checkpoint that was kept, instead.")] = None,
    json: AsJson = False,
) -> None:
    """Prove that an event is in the ledger, or that the ledger continues what a checkpoint signed.

    store/verify.py checks it, with nothing else of Bailiwick at hand.
    """
    if (since is None) == (event == 0):
        what = "an event and a checkpoint are two proofs" if event else "it is not said what to prove"
        raise SettingsError(what, do="give the number of an event, or --since FILE")
    _signed(site, lambda q: q.checkpoint(_note(since)) if since else q.prove(event), json)


@verb(app, "checkpoint")
def checkpoint(site: Site, json: AsJson = False) -> None:
    """The newest signed checkpoint: keep it elsewhere, and `audit prove --since` can be asked of it later."""
    _signed(site, lambda q: q.checkpoint(), json)


def _signed(site: Site, ask: "Callable[[Queries], Coroutine[Any, Any, ProofView]]", json: bool) -> None:
    from runtime.cli.backend import queries
    from runtime.diagnostics import say

    async def asked() -> "ProofView":
        async with queries(site.settings()) as q:
            return await ask(q)

    found = wait_for(asked())
    if json:
        show(found.model_dump(mode="json"))
    else:
        print(found.text, end="")
        say(f"signed with the key {found.fingerprint}")


def _note(file: Path) -> str:
    """The text of a checkpoint in a file. Raises SettingsError if it cannot be read."""
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(NOTE_CHARS)
    except OSError as error:
        raise SettingsError(f"the checkpoint cannot be read: {error.strerror}", str(file)) from None
    except UnicodeDecodeError:
        raise SettingsError("the checkpoint is no text", str(file)) from None


@verb(app, "export")
def export(
    site: Site,
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    json: AsJson = False,
) -> None:
    """Write what an auditor needs to check the log without us: events, checkpoints, public key, verifier."""
    from runtime import audit_folder
    from runtime.cli.backend import queries
    from store.verify import Audit

    async def write() -> Audit:
        async with queries(site.settings()) as q:
            return await audit_folder.export(q, folder.absolute())

    found = wait_for(write())
    if json:
        show({"events": found.events, "checkpoints": found.checkpoints, "fingerprint": found.fingerprint})
    else:
        print(f"{found.events} events and {found.checkpoints} checkpoints, signed with the key {found.fingerprint}")


@verb(app, "report")
def report(site: Site, run: Annotated[str, typer.Argument(help="A run's id, or how it begins.")]) -> None:
    """A page on one run: who asked, what was decided by which rule, what was done, in order."""
    from runtime.audit_report import report as page
    from runtime.cli.backend import trail

    print(page(*wait_for(trail(site.settings(), run, payloads=True))), end="")


@verb(app, "trace")
def trace(
    site: Site,
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="Add it to this file, as one line.")] = None,
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Send it to this OTLP collector.")] = "",
    content: Annotated[bool, typer.Option("--content", help="Prompts, arguments and results, too.")] = False,
) -> None:
    """A run as OpenTelemetry spans, in OTLP's JSON; printed, unless a file or a collector is named.

    Made twice it is the same trace, so what did not get through can be sent again.
    """
    from runtime.cli.backend import trail
    from runtime.diagnostics import say
    from runtime.traces.otlp import export
    from runtime.traces.sinks import Collector, TraceFile

    if file and endpoint:
        raise SettingsError("a trace goes to one place", do="name --file or --endpoint")
    settings = site.settings()
    collector = Collector.parse(endpoint, remote=settings.otlp_remote) if endpoint else None
    _, events = wait_for(trail(settings, run, payloads=True))
    request = export(events, content=content)
    sink = TraceFile(file) if file else collector
    if sink is None:
        show(request)
    else:
        sink.send(request)
        say(f"the trace of {events[0].event['run']} is at {file or endpoint}")


@verb(app, "sql")
def sql(site: Site, query: Annotated[str, typer.Argument(help="One SELECT.")], json: AsJson = False) -> None:
    """The rows of one SELECT over events, runs, payloads (without content), tombstones (of payloads that were
    destroyed) and checkpoints; no files, limited time and memory."""
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
        if view.payload is not None or view.gone:
            row(" " * INDENT, plain(view.gone or view.payload))

"""`bailiwick runs`: what was asked of this runtime, what became of it, and what people may do to it meanwhile."""

import json as text_of
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.page import facts, plain, show, table, told
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from runtime.gate.amount import money
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.gateway.messages import AlertView, RunView

app = noun("Runs: list them, see one step by step, answer its questions, stop it or let it go on.")

Run = Annotated[str, typer.Argument(help="A run's id, or how it begins.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in your own words; it is kept in the ledger.")]
Step = Annotated[str, typer.Option("--step", help="Which of several; `runs show` names the steps.")]
Value = Annotated[str, typer.Argument(help="As JSON.")]


@verb(app, "list")
def list_runs(
    site: Site,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    json: AsJson = False,
) -> None:
    """The newest runs."""
    from runtime.cli.backend import queries
    from runtime.diagnostics import say

    settings = site.settings()

    async def ask() -> "tuple[list[RunView], list[AlertView]]":
        async with queries(settings) as q:
            return await q.runs(limit), await q.alerts()

    found, alerts = wait_for(ask())
    if json:
        show([run.model_dump(mode="json") for run in found])
        return
    columns = ("RUN", "STATUS", "BY", "WORKFLOW", "STARTED", "EVENTS", "TOKENS", "TASK")
    rows = [
        (r.run, _standing(r), r.resolved_by or "-", r.workflow or "-", _minute(r.started), r.events, r.tokens, _task(r))
        for r in found
    ]
    table(columns, rows)
    idle = sum(run.status == "interrupted" for run in found)
    if idle:
        say(f"nobody drives the {idle} interrupted: `bailiwick resume` does, or `bailiwick resume RUN` for one of them")
    for each in alerts:
        mean, expected = (money(micros, settings.rates.currency) for micros in (each.mean_micros, each.expected_micros))
        say(f"{each.workflow} costs {mean} for each success of the last {each.runs}, and {expected} is expected")


@verb(app, "show")
def show_run(
    site: Site,
    run: Run,
    payloads: Annotated[bool, typer.Option("--payloads", help="Prompts, arguments and results, too.")] = False,
    json: AsJson = False,
) -> None:
    """One run and its events."""
    from runtime.cli.backend import trail

    view, events = wait_for(trail(site.settings(), run, payloads=payloads))
    if json:
        show({**view.model_dump(mode="json"), "trail": [event.model_dump(mode="json") for event in events]})
        return
    left_out = {"again_in_s", "withheld"} | (set() if view.forked else {"forked"})
    facts({**view.model_dump(mode="json", exclude=left_out), "status": _standing(view)})
    print()
    from runtime.cli.audit import print_events

    print_events(events, run=False)


@verb(app, "watch")
def watch(site: Site, run: Run) -> None:
    """Follow a run until it ends, is parked or is paused; the exit code says how it ended."""
    import sys

    from runtime.cli.backend import client
    from runtime.embedded import interruptible
    from runtime.watching import Watcher, console_of, outcome_error

    async def see_through() -> "RunView":
        async with client(site.settings()) as c:
            watcher = Watcher(c, console_of(sys.stderr), "ask" if sys.stdin.isatty() else None)
            return await watcher.watch((await c.run(run)).run)

    found = interruptible(see_through())
    print(plain(found.outcome))
    if error := outcome_error(found):
        raise error


@verb(app, "cancel")
def cancel(site: Site, run: Run, reason: Reason = "", json: AsJson = False) -> None:
    """End a run, and those that it began; an effect under way comes to its outcome before."""
    _stopped(site, "cancel", run, reason, json)


@verb(app, "pause")
def pause(site: Site, run: Run, reason: Reason = "", json: AsJson = False) -> None:
    """Stop a run until `runs resume`; an effect under way comes to its outcome before."""
    _stopped(site, "pause", run, reason, json)


@verb(app, "resume")
def resume(site: Site, run: Run, json: AsJson = False) -> None:
    """Let a run go on that is paused, parked or interrupted."""
    _goes_on(_do(site, "resume", run), json)


@verb(app, "retry")
def retry(site: Site, run: Run, json: AsJson = False) -> None:
    """Have the step tried again that failed so often that the run was parked."""
    _goes_on([_do(site, "retry", run)], json)


@verb(app, "signal")
def signal(
    site: Site,
    run: Run,
    name: Annotated[str, typer.Argument(help="What the workflow waits for.")],
    value: Value = "null",
    json: AsJson = False,
) -> None:
    """Send a run a signal. It is kept until the run waits for it."""
    _do(site, "signal", run, name, _json(value))
    told(json, {"run": _whole(site, run), "signal": name}, f"sent: {plain(name)}")


@verb(app, "questions")
def questions(site: Site, json: AsJson = False) -> None:
    """What runs ask people."""
    found = _do(site, "questions")
    if json:
        show([each.model_dump(mode="json") for each in found])
        return
    rows = [(q.run, q.step, q.to or "-", _minute(q.since), _minute(q.due) or "-", q.question) for q in found]
    table(("RUN", "STEP", "FOR", "SINCE", "UNTIL", "QUESTION"), rows)


@verb(app, "answer")
def answer(site: Site, run: Run, value: Value, step: Step = "", json: AsJson = False) -> None:
    """Answer a run's question."""
    _do(site, "reply", run, _json(value), step)
    told(json, {"run": _whole(site, run), "answered": True}, "answered")


@verb(app, "fork")
def fork(
    site: Site,
    run: Run,
    step: Annotated[str, typer.Argument(help="The first step to be taken anew.")],
    again: Annotated[bool, typer.Option("--again", help="Even if it repeats what the run has begun since.")] = False,
    json: AsJson = False,
) -> None:
    """Begin a run that has done what another had before a step; what it commits needs approvals of its own."""
    made = _do(site, "fork", run, step, again)
    if json:
        show(made.model_dump(mode="json"))
        return
    for path, tool in made.effects:
        print(f"done before, not repeated: {plain(tool)} (step {plain(path)})")
    for path, tool in made.again:
        print(f"begun since, may be done again: {plain(tool)} (step {plain(path)})")
    print(f"forked: {made.run}")


@verb(app, "settle")
def settle(
    site: Site,
    run: Run,
    happened: Annotated[
        bool | None, typer.Option("--happened/--not", help="Whether the effect happened; one of them must be given.")
    ] = None,
    step: Step = "",
    value: Annotated[str, typer.Option("--value", help="What stands for its result, as JSON.")] = "null",
    reason: Reason = "",
    json: AsJson = False,
) -> None:
    """Say what became of an effect that is in doubt: it happened, or it did not and is made now."""
    if happened is None:
        raise SettingsError("it is not said whether the effect happened", do="give --happened or --not")
    _goes_on([_do(site, "settle", run, happened, _json(value), step, reason)], json)


@verb(app, "export")
def export(
    site: Site,
    run: Run,
    file: Annotated[Path, typer.Argument(help="A file that is not there yet; only you can read it.")],
    json: AsJson = False,
) -> None:
    """Write a run's events, with hashes and payloads, one JSON object a line."""
    from runtime.cli.backend import trail
    from runtime.folders import new_file

    view, events = wait_for(trail(site.settings(), run, payloads=True))
    with new_file(file) as lines:
        for event in events:
            lines.write(text_of.dumps(event.model_dump(mode="json"), ensure_ascii=False) + "\n")
    done = {"run": view.run, "events": len(events), "file": str(file.absolute())}
    told(json, done, f"{len(events)} events in {plain(str(file))}")


def _do(site: Site, name: str, *arguments: Any) -> Any:
    """The answer to a verb of the runtime that is up. Raises Unreachable if none is."""
    from runtime.cli.backend import client

    async def ask() -> Any:
        async with client(site.settings()) as c:
            return await getattr(c, name)(*arguments)

    return wait_for(ask())


def _stopped(site: Site, name: str, run: str, reason: str, json: bool) -> None:
    """Stop a run, and say how it stands: it may have come to its own end meanwhile."""
    _do(site, name, run, reason)
    view = _do(site, "run", run)
    told(json, {"run": view.run, "status": view.status}, f"{view.status}: {view.run}")


def _whole(site: Site, run: str) -> str:
    """The whole id of a run, of which the beginning may have been typed."""
    id: str = _do(site, "run", run).run
    return id


def _goes_on(runs: list[str], json: bool) -> None:
    told(json, {"runs": runs}, "\n".join(f"goes on: {run}" for run in runs))


def _json(value: str) -> Any:
    """A value typed as JSON. Raises SettingsError."""
    try:
        return text_of.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        what = "it is too deep" if isinstance(error, RecursionError) else str(error)
        raise SettingsError(f"the value is not JSON: {what}", value[:40], "write it as in '{\"level\": 3}'") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _standing(view: "RunView") -> str:
    """How a run stands, and when a parked one is tried again, if that needs nobody."""
    if view.again_in_s is None:
        return view.status
    return f"{view.status}, tries again in {math.ceil(view.again_in_s)} s"


def _task(view: "RunView") -> str:
    """A run's task; another user's is shown by `runs show`, and on record."""
    return "-" if view.withheld else view.task


def _minute(time: str) -> str:
    """A time as people read it; `runs show` and --json have it to the microsecond."""
    return time[:16].replace("T", " ")

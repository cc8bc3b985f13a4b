"""Runs that a run begins: what each is begun with, and what it comes to for the one that awaits it.

When they are driven and stopped is for the conductor to say.
"""

from collections.abc import Iterator, Sequence

from runtime.conductor.done import Done
from runtime.conductor.scope import Scope
from runtime.gateway.messages import Submission
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.errors import ChildFailed, Denied, SettingsError, Waiting
from store.records.event import Event
from store.records.kinds import Kind
from store.records.labels import Labels

DEEPEST = 8


def child_id(parent: Scope, path: str) -> str:
    """The id of the run that belongs to a step. Raises SettingsError if there are too many above it."""
    run = f"{parent.run}-{path}"
    if run.count("-") > DEEPEST:
        raise SettingsError(f"a run may have at most {DEEPEST} runs above it", run)
    return run


def runs_above(run: str) -> Iterator[str]:
    """The run that began this one, the run that began that, and so on."""
    while run := run.rpartition("-")[0]:
        yield run


def begun_with(parent: Scope, workflow: str, task: str, input: Json) -> dict[str, Json]:
    """What a child run is submitted with: no more rights than its parent's, what was attached to that, and what its
    user typed."""
    submission = Submission.of(task=task, workflow=workflow, input=input or {}, seed=parent.seed)
    given = {"rights": _rights(parent), "attachments": list(parent.attachments)}
    given["words"] = list(parent.grounds.words)
    return submission.model_dump(mode="json") | given


def came_to(ledger: Ledger, parent: Scope, run: str) -> Done:
    """What a child run has come to, for its parent's step. Its labels come with it, however it has ended."""
    ends = ledger.events(run=run, kinds=[Kind.RUN_ENDED])
    if not ends:
        parent.awaited.add(run)
        raise Waiting("a run that this one began has not ended", run, "see `bailiwick runs show`")
    last, outcome = ends[0], ledger.payload(ends[0].payload)
    labels = last.labels or Labels(last.tenant)
    facts = {"cause": last.seq}
    if last.decision.startswith("completed"):
        return Done(outcome["value"], labels, facts)
    if last.decision == "denied":
        return Done(None, labels, facts, error=Denied(outcome["text"], run))
    what = f"the run that this one began ended as {last.decision}"
    return Done(None, labels, facts, error=ChildFailed(what, run, "see `bailiwick runs show`"))


def paused_by_a_person(events: Sequence[Event]) -> bool:
    """Whether a run is paused, and not because its parent was."""
    moves = [each for each in events if each.kind in (Kind.RUN_STARTED, Kind.RUN_RESUMED, Kind.RUN_PAUSED)]
    return bool(moves) and moves[-1].kind == Kind.RUN_PAUSED and moves[-1].decision != "parent"


def _rights(parent: Scope) -> list[str] | None:
    """The tools that a child run may use: those that its parent may. None: any."""
    named = [frozenset(each) for each in (parent.workflow.tools or None, parent.rights) if each is not None]
    return sorted(frozenset.intersection(*named)) if named else None

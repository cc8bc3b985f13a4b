"""What becomes of open runs when a ledger that an earlier version wrote goes on with this one.

It says what the conductor would do at the next start, from the events alone: nothing is driven, and no content read.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from runtime.conductor.life import fitting
from runtime.conductor.queues import DEFAULT
from runtime.contract.workflow import Workflow
from store.ledger.upgrade import OpenRun
from store.records.errors import Unreachable
from store.records.event import Event
from store.records.kinds import Kind

Then = Literal["begins", "goes on", "waits", "is tried again", "is cancelled", "stays paused", "stays parked", "parks"]
"""What a run does at the next start."""
_ASKED = (Kind.APPROVAL_REQUESTED, Kind.INPUT_REQUESTED)
_SETTLED = (Kind.APPROVAL_ANSWERED, Kind.INPUT_ANSWERED, Kind.STEP_COMPLETED, Kind.STEP_FAILED)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What becomes of an open run, and why, in words."""

    run: str
    workflow: str
    then: Then
    why: str


def outlook(found: OpenRun, workflows: Mapping[str, Workflow], queues: Collection[str]) -> Outlook:
    """What becomes of a run where these workflows are installed, and these queues declared beside the default one."""
    row, name = found.row, _workflow(found)
    then, why = _then(found, name, workflows, queues)
    return Outlook(row.run, name, then, why)


def _then(found: OpenRun, name: str, workflows: Mapping[str, Workflow], queues: Collection[str]) -> tuple[Then, str]:
    row, by_name = found.row, f"until somebody says `bailiwick runs resume {found.row.run}`"
    if found.held:
        return "stays parked", f"the log was restored: {by_name}"
    if row.status == "paused":
        return "stays paused", by_name
    if row.queue not in ("", DEFAULT, *queues):
        return "parks", f"the run's queue {row.queue!r} is not declared here"
    if name:
        try:
            fitting(workflows, name, _version(name, (*found.source, *found.events)), row.run)
        except Unreachable as error:
            return "parks", error.what
    if any(event.kind == Kind.RUN_CANCELLING for event in found.events):
        return "is cancelled", "somebody has asked for that"
    return _goes_on(found, name)


def _goes_on(found: OpenRun, name: str) -> tuple[Then, str]:
    """Of a run that nothing keeps from being driven."""
    row = found.row
    if row.status == "parked":
        return "is tried again", f"it was parked: {_last(found.events, Kind.RUN_PARKED).decision}"
    if row.status == "waiting":
        asked = _steps(found.events, _ASKED) - _steps(found.events, _SETTLED)
        return "waits", "for a person" if asked else "for a signal or a time"
    if not row.begun:
        return "begins", "when its queue has a place"
    return (
        "goes on",
        "its workflow is installed in the version that it began with" if name else "it has no workflow yet",
    )


def _workflow(found: OpenRun) -> str:
    """The workflow that was named or chosen; empty while the router has not chosen."""
    named = [event.workflow for event in (*found.source, *found.events) if event.workflow]
    return found.row.workflow or (named[-1] if named else "")


def _version(name: str, events: Iterable[Event]) -> int | None:
    """The version of a workflow that a run began with; None if it has not begun."""
    return next((event.workflow_version for event in events if event.workflow == name and event.workflow_version), None)


def _steps(events: Iterable[Event], kinds: Collection[Kind]) -> set[str]:
    return {event.step for event in events if event.kind in kinds}


def _last(events: Iterable[Event], kind: Kind) -> Event:
    return [event for event in events if event.kind == kind][-1]

"""The journal: what one run has recorded so far, by step.

Recovery is replay (as in Temporal, DBOS and Restate): the workflow's function runs again from the top and every step
that is recorded returns its result instead of doing the thing again. A step is known by its path and fingerprinted by
what was asked; when the two disagree the workflow has changed under a running run, and the run is parked.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from store.records.canonical import Json, digest
from store.records.errors import BailiwickError, ReplayMismatch, revive
from store.records.event import Event
from store.records.kinds import Kind
from store.records.labels import Labels

COMMIT = "commit"
"""The kind of step that effects stand under."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A recorded step: its fingerprint, and its value or the error it ended in."""

    fingerprint: str
    value: Json
    labels: Labels | None
    error: BailiwickError | None = None
    arguments: Json = None


@dataclass
class Journal:
    """All that a resumed run needs of its past.

    `steps` are in the order in which they were completed. `asked` is the fingerprint of whatever stands at a path, step
    or not; `commits` are the paths under which there are effects, `undoing` those whose commit failed, with the error;
    `passed` are those that the workflow has come by again. `requested` is the event that first asked a person and
    `approvals` the answers and uses of grants since, by approval. `waits` are the waits that began and `answers` what
    people answered, by step; `signals` those that no wait has taken, by number, and `heard` the numbers of all;
    `retried` how often a person had a step tried anew; `versions` the version of each workflow that the run began with;
    `rulings` the gate's on steps that have not ended; `stopping` the event that last told it to stop and `parked` the
    one that parked it, if it has not gone on since; `broken` the mismatch that was found.
    """

    steps: dict[str, Entry] = field(default_factory=dict)
    effects: dict[str, list[tuple[Event, Json]]] = field(default_factory=dict)
    approvals: dict[str, list[tuple[Event, Json]]] = field(default_factory=dict)
    requested: dict[str, Event] = field(default_factory=dict)
    waits: dict[str, tuple[Event, Json]] = field(default_factory=dict)
    answers: dict[str, tuple[Event, Json]] = field(default_factory=dict)
    signals: dict[int, tuple[Event, Json]] = field(default_factory=dict)
    retried: Counter[str] = field(default_factory=Counter)
    patches: set[str] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)
    stopping: Kind | None = None
    parked: Event | None = None
    rulings: dict[str, list[tuple[Event, Json]]] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    commits: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    undoing: dict[str, BailiwickError] = field(default_factory=dict)
    heard: set[int] = field(default_factory=set)
    broken: BailiwickError | None = None

    @classmethod
    def read(cls, events: Iterable[tuple[Event, Json]]) -> "Journal":
        """The journal in a run's events and their payloads, oldest first."""
        journal = cls()
        for event, payload in events:
            journal._add(event, payload)
        return journal

    def _add(self, event: Event, payload: Json) -> None:
        if event.workflow_version:
            self.versions.setdefault(event.workflow, event.workflow_version)
        if event.kind in (Kind.RUN_PARKED, Kind.RUN_RESUMED):
            self.parked = event if event.kind == Kind.RUN_PARKED else None
        match event.kind:
            case Kind.STEP_COMPLETED | Kind.REVIEW_COMPLETED | Kind.PLAN_FROZEN | Kind.STEP_FAILED:
                error = revive(**payload["error"]) if event.kind == Kind.STEP_FAILED else None
                entry = Entry(event.fingerprint, payload.get("value"), event.labels, error, payload["arguments"])
                self.steps[event.step] = entry
                self.rulings.pop(event.step, None)
                self.asked[event.step] = event.fingerprint
                if payload["kind"] == "wait":
                    self.signals.pop(event.cause, None)
            case Kind.STAGED | Kind.CHANGE_SET_DISCARDED | Kind.NOTE:
                self.asked[event.step] = event.fingerprint
            case Kind.WAIT_BEGUN | Kind.INPUT_REQUESTED:
                self.waits[event.step] = event, payload
                self.asked[event.step] = event.fingerprint
            case Kind.INPUT_ANSWERED:
                self.answers[event.step] = event, payload
            case Kind.SIGNAL_RECEIVED:
                self.signals[event.seq] = event, payload
                self.heard.add(event.seq)
            case Kind.COMMIT_FAILED:
                self.undoing[event.step] = revive(**payload["error"])
            case Kind.RUN_RETRIED:
                self.retried[event.step] += 1
            case Kind.RUN_PATCHED:
                self.patches.add(event.decision)
            case Kind.RUN_PAUSED | Kind.RUN_RESUMED if self.stopping != Kind.RUN_CANCELLING:
                self.stopping = Kind(event.kind) if event.kind == Kind.RUN_PAUSED else None
            case Kind.RUN_CANCELLING:
                self.stopping = Kind.RUN_CANCELLING
            case Kind.EFFECT_INTENT | Kind.EFFECT_OUTCOME | Kind.EFFECT_IN_DOUBT:
                self.effects.setdefault(event.step, []).append((event, payload))
                self.commits.add(event.step.rpartition(".")[0])
            case Kind.DECISION:
                self.rulings.setdefault(event.step, []).append((event, payload))
            case Kind.APPROVAL_REQUESTED:
                self.requested.setdefault(payload["approval"], event)
            case Kind.APPROVAL_ANSWERED | Kind.GRANT_USED:
                self.approvals.setdefault(payload["approval"], []).append((event, payload))

    def take(self, path: str, fingerprint: str, asked: str) -> Entry | None:
        """The recorded step at `path`, or None if it is yet to be done. Raises ReplayMismatch."""
        self.was_noted(path, fingerprint, asked)
        return self.steps.get(path)

    def was_noted(self, path: str, fingerprint: str, asked: str) -> bool:
        """Whether this stands at `path` in the record. Raises ReplayMismatch if something else does."""
        self.passed.add(path)
        recorded = self.asked.get(path)
        other = path in self.commits and asked.partition(" ")[0] != COMMIT
        if other or (recorded is not None and recorded != fingerprint):
            self.broken = mismatch(path, asked)
            raise self.broken
        return recorded is not None

    @property
    def ahead(self) -> bool:
        """Whether there is anything on record that the workflow has not come by again."""
        return bool((self.asked.keys() | self.commits) - self.passed)

    def check_passed(self) -> None:
        """Raise ReplayMismatch if the workflow ended without having come by all that is recorded."""
        left = (self.asked.keys() | self.commits) - self.passed
        if left:
            raise mismatch(min(left), "nothing more")


def mismatch(path: str, asked: str) -> ReplayMismatch:
    """The error of a workflow that asks for another step than it did before."""
    return ReplayMismatch(
        f"the workflow now asks for {asked}, which is not what was recorded",
        f"step {path}",
        "finish the run with the workflow it began with",
    )


def fingerprint(kind: str, name: str, arguments: Json) -> str:
    """The hex SHA-256 of what a step asks for."""
    return digest({"kind": kind, "name": name, "arguments": arguments})

"""What a run can build on: its own events, and for a fork those of its source up to the step that it forks from.

Nothing is copied: a fork names its source and a number, and reads both. It carries over what was decided and answered,
but no effect and no approval, for these were the source's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from store.ledger.ledger import Ledger
from store.ledger.reader import EVERYTHING
from store.records.canonical import Json
from store.records.errors import SettingsError
from store.records.event import Event
from store.records.kinds import Kind

Past = list[tuple[Event, Json]]

CARRIED = frozenset(
    {
        Kind.STEP_COMPLETED,
        Kind.STEP_FAILED,
        Kind.REVIEW_COMPLETED,
        Kind.PLAN_FROZEN,
        Kind.STAGED,
        Kind.CHANGE_SET_DISCARDED,
        Kind.NOTE,
        Kind.WAIT_BEGUN,
        Kind.SIGNAL_RECEIVED,
        Kind.INPUT_REQUESTED,
        Kind.INPUT_ANSWERED,
        Kind.RUN_PATCHED,
        Kind.RUN_RETRIED,
    }
)


def own(ledger: Ledger, run: str) -> Past:
    """A run's own events, oldest first. Raises as `whole`."""
    return whole(ledger, ledger.run_events(run))


def whole(ledger: Ledger, events: Sequence[Event]) -> Past:
    """Events with their payloads. Raises IntegrityError if one is missing or damaged."""
    return list(zip(events, ledger.payloads(events), strict=True))


def carried(ledger: Ledger, events: Past) -> Past:
    """What a run carries over from the one that it was forked from, if it was; `events` are its own."""
    forked = events[0][1].get("forked")
    if forked is None:
        return []
    source = own(ledger, forked["run"])
    found = [*carried(ledger, source), *source]
    return [(event, payload) for event, payload in found if event.seq < forked["before"] and event.kind in CARRIED]


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a run can be forked: before `step`, which is before event `before`.

    `effects` are step and tool of what was done until then, which a fork carries over and does not repeat; `again` of
    what was begun at the step or after it, which a fork may do once more.
    """

    step: str
    before: int
    effects: tuple[tuple[str, str], ...]
    again: tuple[tuple[str, str], ...]


def fork_at(ledger: Ledger, run: str, step: str) -> Fork:
    """The place in a run just before `step`. Raises SettingsError if there is no such step, or a commit was under way.

    The effects are those of the run itself, of the runs that it began, and of the run that it was forked from.
    """
    events = own(ledger, run)
    found = [*carried(ledger, events), *events]
    before = min((event.seq for event, _ in found if _belongs(event, step)), default=EVERYTHING)
    if before == EVERYTHING:
        raise SettingsError("the run has no such step", step, "`bailiwick runs show` names the steps")
    until = [event for event, _ in found if event.seq < before]
    done = {event.step for event in until if event.kind == Kind.STEP_COMPLETED}
    for intent in until:
        if intent.kind == Kind.EFFECT_INTENT and intent.step.rpartition(".")[0] not in done:
            raise SettingsError("an effect was under way at this step", step, "fork from an earlier or a later one")
    for child in ledger.begun_by(run):
        if ledger.run_events(child)[0].seq < before and child.removeprefix(f"{run}-").partition("-")[0] not in done:
            raise SettingsError("a run that it began was under way at this step", child, "fork from another")
    return Fork(step, before, *_effects(ledger, run, before))


Named = tuple[tuple[str, str], ...]


def _effects(ledger: Ledger, run: str, before: int) -> tuple[Named, Named]:
    """What a fork carries over and what it may do again, a run's own first, then that of the one it was forked from.

    What an earlier run did after it was forked from is not done again if a fork carries over the repeat of it.
    """
    kept: dict[tuple[str, str], tuple[str, str]] = {}
    again: list[tuple[str, str]] = []
    for source, limit in _lineage(ledger, run, before):
        own_prefix = "" if source == run else f"{source}/"
        later = []
        for place, path, intent in _begun(ledger, source, own_prefix):
            if intent.seq < limit:
                kept[place, intent.tool] = path, intent.tool
            else:
                later.append(((place, intent.tool), path))
        again += [(path, tool) for (place, tool), path in later if (place, tool) not in kept]
    return tuple(kept.values()), tuple(again)


def _lineage(ledger: Ledger, run: str, before: int) -> Iterator[tuple[str, int]]:
    """A run and those that it was forked from, each with the event before which a fork of it has its past."""
    while True:
        yield run, before
        forked = ledger.payload(ledger.run_events(run)[0].payload).get("forked")
        if forked is None:
            return
        run, before = forked["run"], min(before, forked["before"])


def _begun(ledger: Ledger, run: str, prefix: str) -> Iterator[tuple[str, str, Event]]:
    """The intents of a run and of those it began, but for what did not happen by a person's word: each with its place
    among all runs that were forked alike, and with how it is named."""
    for each in (run, *ledger.begun_by(run)):
        kinds = [Kind.EFFECT_INTENT, Kind.EFFECT_SETTLED]
        events = ledger.events(run=each, limit=EVERYTHING, kinds=kinds)
        undone = {event.cause for event in events if event.kind == Kind.EFFECT_SETTLED and event.decision == "not"}
        for event in events:
            if event.kind == Kind.EFFECT_INTENT and event.seq not in undone:
                path = f"{prefix}{event.step}" if each == run else f"{each}/{event.step}"
                yield f"{each.removeprefix(run)}/{event.step}", path, event


def _belongs(event: Event, step: str) -> bool:
    return event.step == step or event.step.startswith(f"{step}.")

"""What a run can build on: its own events, and for a fork those of its source up to the step that it forks from.

Nothing is copied: a fork names its source and a number, and reads both. It carries over what was decided and answered,
but no effect and no approval, for these were the source's.
"""

from dataclasses import dataclass

from store.ledger.ledger import EVERYTHING, Ledger
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
    """A run's own events, oldest first. Raises IntegrityError if a payload is missing or damaged."""
    events = ledger.run_events(run)
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
    """Where a run can be forked: before event `before`. `effects` are steps and tools of what was done until then."""

    before: int
    effects: tuple[tuple[str, str], ...]


def fork_at(ledger: Ledger, run: str, step: str) -> Fork:
    """The place in a run just before `step`. Raises SettingsError if there is no such step, or a commit was under way.

    The effects are those of the run itself and of the run that it was forked from; a fork does not repeat them.
    """
    events = own(ledger, run)
    found = [*carried(ledger, events), *events]
    before = min((event.seq for event, _ in found if _belongs(event, step)), default=EVERYTHING)
    if before == EVERYTHING:
        raise SettingsError("the run has no such step", step, "`bailiwick runs show` names the steps")
    until = [event for event, _ in found if event.seq < before]
    done = {event.step for event in until if event.kind == Kind.STEP_COMPLETED}
    intents = [event for event in until if event.kind == Kind.EFFECT_INTENT]
    for intent in intents:
        if intent.step.rpartition(".")[0] not in done:
            raise SettingsError("an effect was under way at this step", step, "fork from an earlier or a later one")
    effects = [(intent.step, intent.tool) for intent in intents]
    for child in ledger.begun_by(run):
        made = ledger.events(run=child, limit=EVERYTHING, kinds=[Kind.RUN_SUBMITTED, Kind.EFFECT_INTENT])
        if made[0].seq < before and child.removeprefix(f"{run}-").partition("-")[0] not in done:
            raise SettingsError("a run that it began was under way at this step", child, "fork from another")
        effects += [(f"{child}/{each.step}", each.tool) for each in made[1:] if each.seq < before]
    return Fork(before, tuple(effects))


def _belongs(event: Event, step: str) -> bool:
    return event.step == step or event.step.startswith(f"{step}.")

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
    }
)


def past(ledger: Ledger, run: str) -> Past:
    """A run's own events, oldest first, with what they carry over from the run it was forked from before them.

    Raises IntegrityError if a payload is missing or damaged.
    """
    events = ledger.run_events(run)
    own = list(zip(events, ledger.payloads(events), strict=True))
    forked = own[0][1].get("forked")
    return own if forked is None else [*_before(past(ledger, forked["run"]), forked["before"]), *own]


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a run can be forked: before event `before`. `effects` are steps and tools of what was done until then."""

    before: int
    effects: tuple[tuple[str, str], ...]


def fork_at(ledger: Ledger, run: str, step: str) -> Fork:
    """The place in a run just before `step`. Raises SettingsError if there is no such step, or a commit was under way.

    The effects are those of the run itself and of the run that it was forked from; a fork does not repeat them.
    """
    found = past(ledger, run)
    before = min((event.seq for event, _ in found if _belongs(event, step)), default=EVERYTHING)
    if before == EVERYTHING:
        raise SettingsError("the run has no such step", step, "`bailiwick runs show` names the steps")
    until = [event for event, _ in found if event.seq < before]
    done = {event.step for event in until if event.kind == Kind.STEP_COMPLETED}
    intents = [event for event in until if event.kind == Kind.EFFECT_INTENT]
    for intent in intents:
        if intent.step.rpartition(".")[0] not in done:
            raise SettingsError("an effect was under way at this step", step, "fork from an earlier or a later one")
    return Fork(before, tuple((intent.step, intent.tool) for intent in intents))


def _before(found: Past, before: int) -> Past:
    return [(event, payload) for event, payload in found if event.seq < before and event.kind in CARRIED]


def _belongs(event: Event, step: str) -> bool:
    return event.step == step or event.step.startswith(f"{step}.")

"""Legal holds: what must be kept by a person's order, as events say in their bytes."""

from collections.abc import Iterable
from dataclasses import dataclass

from store.keys.scope import Owner, Scope
from store.ledger.reader import EVERYTHING, Reader
from store.records.errors import IntegrityError
from store.records.kinds import Kind


@dataclass(frozen=True, slots=True)
class Hold:
    """Content that must be kept, since an event, by a person's order; the id of the payload that says why."""

    event: int
    scope: Scope
    by: str
    since: str
    payload: str


def holds(reader: Reader) -> list[Hold]:
    """What is held now, the oldest first. Raises IntegrityError if an event is not what was recorded."""
    found: dict[Scope, Hold] = {}
    for event in reader.events(limit=EVERYTHING, kinds=(Kind.KEYS_HELD, Kind.KEYS_RELEASED)):
        try:
            scope = Scope.parse(event.tenant, event.step)
        except ValueError:
            raise IntegrityError(f"event {event.seq} names no scope") from None
        if event.kind == Kind.KEYS_RELEASED:
            found.pop(scope, None)
        else:
            found.setdefault(scope, Hold(event.seq, scope, event.principal, event.time, event.payload))
    return list(found.values())


def held(holds: Iterable[Hold], owner: Owner) -> bool:
    """Whether any of them is about this owner's content."""
    return any(hold.scope.covers(owner) for hold in holds)

"""The sealer: what makes an event out of a draft. Number, time, epoch and the link to the actor's previous event.

It never writes, and a draft that it refuses leaves no gap.
"""

import time
from dataclasses import fields
from datetime import UTC, datetime

from store.ledger.errors import Unstorable
from store.records.canonical import sha256
from store.records.event import GENESIS, Draft, Event

NAME_LIMIT = 512
"""Characters a text field of an event may have: it holds names and digests."""

_LAST_EXACT = 2**53 - 1

_DRAFT_FIELDS = tuple(field.name for field in fields(Draft))
_TEXT_FIELDS = tuple(field.name for field in fields(Draft) if field.type is str)
_NUMBER_FIELDS = tuple(field.name for field in fields(Draft) if field.type is int)


class Sealer:
    """Numbers and chains events. Not safe from several threads: the ledger holds its lock around `seal`."""

    def __init__(self, last: int, epoch: int, heads: dict[str, str]) -> None:
        """Go on after event `last`; `heads` maps an actor to the hash of its last event."""
        self.epoch = epoch
        self.last = last
        """The number of the last event that was sealed; 0 before the first."""
        self._heads = heads
        self._started_ns = time.monotonic_ns()

    def seal(self, draft: Draft, payload: str) -> tuple[Event, bytes, str]:
        """The event, its canonical bytes and their hash. Raises Unstorable if the draft cannot be an event."""
        _check(draft)
        body = {name: getattr(draft, name) for name in _DRAFT_FIELDS}
        # Plain text: members of an enumeration are stored by value.
        body.update({name: str(body[name]) for name in _TEXT_FIELDS})
        event = Event(
            **body,
            seq=self.last + 1,
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            # Counted from the opening, because nanoseconds since boot leave the integers of RFC 8785 after 104 days.
            mono_ns=min(time.monotonic_ns() - self._started_ns, _LAST_EXACT),
            epoch=self.epoch,
            payload=payload,
            prev=self._heads.get(body["actor"], GENESIS),
        )
        data = event.canonical()
        digest = sha256(data)
        self.last = event.seq
        self._heads[event.actor] = digest
        return event, data, digest


def _check(draft: Draft) -> None:
    """Refuse what is no name: canonical bytes hold no free text, and outlive the text that they point to."""
    for name in _TEXT_FIELDS:
        value = getattr(draft, name)
        if not isinstance(value, str) or len(value) > NAME_LIMIT or not value.isprintable():
            raise Unstorable(f"the field {name!r} of an event takes a name of at most {NAME_LIMIT} characters")
    for name in _NUMBER_FIELDS:
        value = getattr(draft, name)
        if type(value) is not int or not 0 <= value <= _LAST_EXACT:
            raise Unstorable(f"the field {name!r} of an event takes a whole number from 0 to 2**53 - 1")
    for name in ("kind", "tenant", "actor"):
        if not getattr(draft, name):
            raise Unstorable(f"the field {name!r} of an event must not be empty")
    for text in (draft.labels.tenant, *draft.labels.sources) if draft.labels else ():
        if len(text) > NAME_LIMIT or not text.isprintable():
            raise Unstorable(f"labels hold names of at most {NAME_LIMIT} characters")

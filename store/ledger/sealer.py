"""The sealer: what makes an event out of a draft. Number, time, epoch and the link to the actor's previous event.

It never writes. A draft is checked before anything is made for it, so that one that is refused leaves no trace.
"""

import time
from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter

from store.ledger.errors import Unstorable
from store.records.canonical import EXACT, sha256
from store.records.event import GENESIS, Draft, Event

NAME_LIMIT = 512
"""Characters a text field of an event may have: it holds names and digests."""

_DRAFT_FIELDS = tuple(field.name for field in fields(Draft))
_TEXT_FIELDS = tuple(field.name for field in fields(Draft) if field.type is str)
_NUMBER_FIELDS = tuple(field.name for field in fields(Draft) if field.type is int)
_values, _texts, _numbers = attrgetter(*_DRAFT_FIELDS), attrgetter(*_TEXT_FIELDS), attrgetter(*_NUMBER_FIELDS)


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
        """The event, its canonical bytes and their hash. `check` must have passed the draft."""
        body = dict(zip(_DRAFT_FIELDS, _values(draft), strict=True))
        # Plain text: members of an enumeration are stored by value.
        body.update(zip(_TEXT_FIELDS, map(str, _texts(draft)), strict=True))
        event = Event(
            **body,
            seq=self.last + 1,
            time=f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
            # Counted from the opening, because nanoseconds since boot leave the integers of RFC 8785 after 104 days.
            mono_ns=min(time.monotonic_ns() - self._started_ns, EXACT),
            epoch=self.epoch,
            payload=payload,
            prev=self._heads.get(body["actor"], GENESIS),
        )
        data = event.canonical()
        digest = sha256(data)
        self.last = event.seq
        self._heads[event.actor] = digest
        return event, data, digest


def check(draft: Draft) -> None:
    """Raise Unstorable for a draft that cannot be an event, because something in it is no name or no number: canonical
    bytes hold no free text, and outlive the text that they point to."""
    for name, value in zip(_TEXT_FIELDS, _texts(draft), strict=True):
        if not isinstance(value, str) or len(value) > NAME_LIMIT or not value.isprintable():
            raise Unstorable(f"the field {name!r} of an event takes a name of at most {NAME_LIMIT} characters")
    for name, value in zip(_NUMBER_FIELDS, _numbers(draft), strict=True):
        if type(value) is not int or not 0 <= value <= EXACT:
            raise Unstorable(f"the field {name!r} of an event takes a whole number from 0 to 2**53 - 1")
    for name in ("kind", "tenant", "actor"):
        if not getattr(draft, name):
            raise Unstorable(f"the field {name!r} of an event must not be empty")
    for text in (draft.labels.tenant, *draft.labels.sources) if draft.labels else ():
        if len(text) > NAME_LIMIT or not text.isprintable():
            raise Unstorable(f"labels hold names of at most {NAME_LIMIT} characters")

"""The sealer: what makes an event out of a draft. Number, time, epoch and the link to the actor's previous event.

Times are the wall clock's, and somebody may set that back. No event is dated before the one in front of it but the one
that says so, which comes first: `clock.set-back`, whose cause is the event in front and whose step the milliseconds. It
is filed under the tenant of the event that was to be made.

It never writes. A draft is checked before anything is made for it, so that one that is refused leaves no trace.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter

from store.ledger.errors import Unstorable
from store.records.canonical import EXACT, sha256
from store.records.event import GENESIS, Draft, Event
from store.records.kinds import Kind
from store.records.labels import Labels
from store.verify import set_back_ms

NAME_LIMIT = 512
"""Characters a text field of an event may have: it holds names and digests."""

ACTOR, VERSION = "ledger", "1"
"""Who says that the clock was set back."""

Clock = Callable[[], datetime]
"""Tells the time in UTC."""
Sealed = tuple[Event, bytes, str]
"""An event, its canonical bytes and their hash."""

_DRAFT_FIELDS = tuple(field.name for field in fields(Draft))
_TEXT_FIELDS = tuple(field.name for field in fields(Draft) if field.type is str)
_NUMBER_FIELDS = tuple(field.name for field in fields(Draft) if field.type is int)
_values, _texts, _numbers = attrgetter(*_DRAFT_FIELDS), attrgetter(*_TEXT_FIELDS), attrgetter(*_NUMBER_FIELDS)


class Sealer:
    """Numbers and chains events. Not safe from several threads: the ledger holds its lock around `seal`."""

    def __init__(
        self,
        last: int,
        epoch: int,
        heads: dict[str, str],
        newest: str,
        clock: Clock,
        peaks: Iterable[tuple[int, str]] = (),
    ) -> None:
        """Go on after event `last`, of the time `newest`; `heads` maps an actor to the hash of its last event, `peaks`
        are number and time of each event after which the clock was set back."""
        self.epoch = epoch
        self.last = last
        """The number of the last event that was sealed; 0 before the first."""
        self._heads = heads
        self._newest = newest
        self._clock = clock
        self._peaks = list(peaks)
        self._started_ns = time.monotonic_ns()

    def seal(self, draft: Draft, payload: str) -> list[Sealed]:
        """The event, and in front of it the one that says that the clock was set back, if it was since the last.

        `check` must have passed the draft.
        """
        now = f"{self._clock().astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
        heads: dict[str, str] = {}
        sealed = []
        for seq, (each, id) in enumerate(self._told(draft, payload, now), self.last + 1):
            event, data, digest = self._seal(each, id, now, seq, heads)
            heads[event.actor] = digest
            sealed.append((event, data, digest))
        # Only now, when nothing can fail any more: a number that is given to nothing would be missing for ever.
        if now < self._newest:
            self._peaks.append((self.last, self._newest))
        self.last, self._newest = self.last + len(sealed), now
        self._heads.update(heads)
        return sealed

    def _told(self, draft: Draft, payload: str, now: str) -> list[tuple[Draft, str]]:
        """What is to be said, each with its payload."""
        said = [(self._set_back(now, draft.tenant), "")] if now < self._newest else []
        return [*said, (draft, payload)]

    def latest_since(self, event: int) -> str:
        """The latest time of any event from a number on; empty if there is none.

        Times fall only where the clock was set back, so only the last event and those in front of such places count.
        """
        times = [time for seq, time in self._peaks if seq >= event]
        return max([*times, self._newest] if event <= self.last else times, default="")

    def _set_back(self, now: str, tenant: str) -> Draft:
        return Draft(
            kind=Kind.CLOCK_SET_BACK,
            tenant=tenant,
            actor=ACTOR,
            actor_version=VERSION,
            cause=self.last,
            step=str(set_back_ms(self._newest, now)),
        )

    def _seal(self, draft: Draft, payload: str, now: str, seq: int, heads: dict[str, str]) -> Sealed:
        """`heads` are those of what is sealed in front of it at once."""
        body = dict(zip(_DRAFT_FIELDS, _values(draft), strict=True))
        # Plain text: members of an enumeration are stored by value.
        body.update(zip(_TEXT_FIELDS, map(str, _texts(draft)), strict=True))
        actor = body["actor"]
        event = Event(
            **body,
            seq=seq,
            time=now,
            # Counted from the opening, because nanoseconds since boot leave the integers of RFC 8785 after 104 days.
            mono_ns=min(time.monotonic_ns() - self._started_ns, EXACT),
            epoch=self.epoch,
            payload=payload,
            prev=heads.get(actor) or self._heads.get(actor, GENESIS),
        )
        data = event.canonical()
        return event, data, sha256(data)


def utc_now() -> datetime:
    """The time on the wall, in UTC."""
    return datetime.now(UTC)


def check(draft: Draft) -> None:
    """Raise Unstorable for a draft that cannot be an event, because something in it is no name or no number: canonical
    bytes hold no free text, and outlive the text that they point to."""
    texts = _texts(draft)
    if not all_names(texts):
        name = next(name for name, value in zip(_TEXT_FIELDS, texts, strict=True) if not all_names((value,)))
        raise Unstorable(f"the field {name!r} of an event takes a name of at most {NAME_LIMIT} characters")
    for name, value in zip(_NUMBER_FIELDS, _numbers(draft), strict=True):
        if type(value) is not int or not 0 <= value <= EXACT:
            raise Unstorable(f"the field {name!r} of an event takes a whole number from 0 to 2**53 - 1")
    for name in ("kind", "tenant", "actor"):
        if not getattr(draft, name):
            raise Unstorable(f"the field {name!r} of an event must not be empty")
    if draft.labels and not are_names(draft.labels):
        raise Unstorable(f"labels hold names of at most {NAME_LIMIT} characters")


def all_names(texts: Sequence[object]) -> bool:
    """Whether text fields of an event can hold these."""
    try:
        return "".join(texts).isprintable() and max(map(len, texts)) <= NAME_LIMIT  # type: ignore[arg-type]
    except TypeError:  # one of them is no text
        return False


def are_names(labels: Labels) -> bool:
    """Whether labels hold nothing but names."""
    # A list would pass for a tuple until something looks for these labels among others.
    return isinstance(labels.sources, tuple) and all_names((labels.tenant, *labels.sources))

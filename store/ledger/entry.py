"""An entry: what one event brings to the disk."""

from collections.abc import Sequence
from dataclasses import dataclass

from store.ledger.archive import Payload
from store.records.event import Event


@dataclass(frozen=True, slots=True)
class Entry:
    """An event, its canonical bytes, their hash, and the payload that it refers to.

    `erases` are the ids of payloads that go as this event comes.
    """

    event: Event
    data: bytes
    digest: str
    payload: Payload | None
    erases: Sequence[str] = ()

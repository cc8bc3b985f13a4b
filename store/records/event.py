"""The event: one row of the ledger, and the only thing a run is resumed from and audited by.

Rooms make a `Draft`; the ledger seals it into an `Event` by adding sequence number, times, epoch and the hash of
the same actor's previous event. The canonical bytes are what is hashed; they hold names, digests and numbers,
never free text. Text (prompts, arguments, results) is a payload, and the event holds its reference.
"""

from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from typing import Any

from store.records.canonical import Json, parse, quoted, sha256
from store.records.labels import Labels, written

SCHEMA = 1
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a room says happened. Digests are hex SHA-256 or empty; money is in millionths of the site's unit."""

    kind: str
    tenant: str
    actor: str
    actor_version: str
    unit: str = ""
    run: str = ""
    step: str = ""
    attempt: int = 1
    cause: int = 0
    principal: str = ""
    workflow: str = ""
    workflow_version: int = 0
    fingerprint: str = ""
    tool: str = ""
    tool_digest: str = ""
    model_digest: str = ""
    prompt_digest: str = ""
    grammar_digest: str = ""
    policy_digest: str = ""
    decision: str = ""
    labels: Labels | None = None
    tokens: int = 0
    device_ms: int = 0
    cost_micros: int = 0
    retention: str = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Draft):
    """A sealed draft. `time` is UTC ISO 8601 with microseconds and a Z; `mono_ns` orders events of one epoch."""

    seq: int
    time: str
    mono_ns: int
    epoch: int
    payload: str
    prev: str
    schema: int = SCHEMA

    def canonical(self) -> bytes:
        """The RFC 8785 bytes that are hashed, chained and proved."""
        each = (*map(quoted, _texts(self)), *_numbers(self), written(self.labels))
        filled: str = _FORM % _in_order(each)
        return filled.encode()

    @property
    def hash(self) -> str:
        """The hex SHA-256 of the canonical bytes."""
        return sha256(self.canonical())

    def json(self) -> Json:
        """As plain JSON, a key for each field."""
        body: dict[str, Any] = dict(zip(NAMES, values(self), strict=True))
        body["labels"] = self.labels.json() if self.labels else None
        return body

    @classmethod
    def parse(cls, data: bytes) -> "Event":
        """The event in canonical bytes. Raises ValueError or TypeError if they are not one."""
        body = parse(data)
        body["labels"] = Labels.parse(body["labels"]) if body["labels"] else None
        return cls(**body)


# Read all at once and in the order in which they are written: an event is sealed for every step of every run.
NAMES = tuple(field.name for field in fields(Event))
"""The fields of an event, in their order."""
values = attrgetter(*NAMES)
"""What an event has in them, a tuple."""
_TEXTS = tuple(field.name for field in fields(Event) if field.type is str)
_NUMBERS = tuple(field.name for field in fields(Event) if field.type is int)
_texts, _numbers = attrgetter(*_TEXTS), attrgetter(*_NUMBERS)
_READ = (*_TEXTS, *_NUMBERS, "labels")
_in_order = itemgetter(*(_READ.index(name) for name in sorted(NAMES)))
_FORM = "{" + ",".join(f'"{name}":%{"d" if name in _NUMBERS else "s"}' for name in sorted(NAMES)) + "}"
"""The canonical bytes with a gap for each value: filling them takes half of what encoding a dictionary does."""

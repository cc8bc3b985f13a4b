"""The span: one stretch of a run as OpenTelemetry knows it. Plain data.

Ids are digests of the run's id and the place in it, so that a run exported twice is one trace, and a run that another
began finds its place in the other's without asking.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

Value = str | int | bool | tuple[str, ...]
Attributes = Mapping[str, Value]

INTERNAL: Literal[1] = 1
CLIENT: Literal[3] = 3
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened at one time within a span, in nanoseconds since 1970."""

    name: str
    at_ns: int
    attributes: Attributes


@dataclass(slots=True)
class Span:
    """One stretch. Times are nanoseconds since 1970, `parent` is empty for the root, `error` the class of what ended
    it, empty if nothing went wrong. `link` is the trace and span of what it was forked from."""

    id: str
    parent: str
    name: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Value] = field(default_factory=dict)
    kind: Literal[1, 3] = INTERNAL
    error: str = ""
    moments: list[Moment] = field(default_factory=list)
    link: tuple[str, str] | None = None

    def covers(self, at_ns: int) -> bool:
        """Whether a time lies within it."""
        return self.start_ns <= at_ns <= self.end_ns


def trace_id(run: str) -> str:
    """The trace that a run belongs to, 32 hex digits: that of the run at the top, whose id has no dash in it."""
    return hashlib.sha256(f"bailiwick trace {run.partition('-')[0]}".encode()).hexdigest()[:32]


def span_id(run: str, step: str = "", what: str = "") -> str:
    """The id of a run's span, of a step's, or of a further one at a step; 16 hex digits."""
    return hashlib.sha256(f"bailiwick span {run} {step} {what}".encode()).hexdigest()[:16]


def nanoseconds(time: str) -> int:
    """An event's time as nanoseconds since 1970, as exact as the event has it: to the microsecond."""
    return (datetime.fromisoformat(time) - EPOCH) // timedelta(microseconds=1) * 1000

"""The values that steps of a workflow give back."""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from store.records.canonical import Json
from store.records.errors import SettingsError


class Record(dict[str, Any]):
    """A JSON object whose fields can also be read as attributes: `health.ok` is `health["ok"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the result has no field {name!r}; it has {', '.join(self) or 'none'}") from None


def record(value: Json) -> Any:
    """`value` with every object in it as a Record."""
    if isinstance(value, dict):
        return Record({key: record(item) for key, item in value.items()})
    if isinstance(value, list):
        return [record(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Ref:
    """A place to be filled, at commit, with a field of an earlier staged effect's result."""

    step: str
    field: str


@dataclass(frozen=True, slots=True)
class Staged:
    """An effect that waits for review and commit. `by` says who proposed it."""

    step: str
    tool: str
    arguments: dict[str, Any]
    by: Literal["model", "rule"] = "rule"

    def ref(self, field: str) -> Ref:
        """A reference to `field` of this effect's result, for the arguments of a later one."""
        return Ref(self.step, field)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The reviewer's word on a change set. A yes opens nothing by itself; a no closes the door."""

    approve: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """An effect that happened: its step, tool, idempotency key and result."""

    step: str
    tool: str
    key: str
    result: Any


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example for the agent loop: a situation, and the call that was right in it."""

    situation: str
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often a step is tried, and the pauses in between: `first_s` seconds, then `factor` times longer each time.

    No pause is longer than `most_s`; each is multiplied by a random number from 0.5 to 1, so that those that failed
    together do not come back together (as AWS describes under exponential backoff and jitter).
    """

    attempts: int = 3
    first_s: float = 1.0
    factor: float = 2.0
    most_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what would never try, or never pause."""
        if self.attempts < 1 or not (0 <= self.first_s <= self.most_s < inf and 1 <= self.factor < inf):
            raise SettingsError("a backoff needs attempts of 1 or more, 0 <= first_s <= most_s and factor of 1 or more")

    def pause(self, failed: int, chance: float) -> float:
        """The seconds to wait after so many failed attempts; `chance` is from 0 up to 1."""
        try:
            grown = self.first_s * self.factor ** (failed - 1)
        except OverflowError:
            grown = self.most_s
        return min(self.most_s, grown) * (0.5 + chance / 2)


@dataclass(frozen=True, slots=True)
class Work:
    """What the agent loop came to: its summary, the reads it made, the effects it staged."""

    summary: str
    reads: tuple[tuple[str, dict[str, Any], Any], ...] = ()
    staged: tuple[Staged, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Planned:
    """What a frozen plan came to: its digest, what each of its reads and readings gave, by variable, and its effects.

    A workflow that has these values has read them: whatever it does next is labelled so.
    """

    digest: str
    values: dict[str, Any] = field(default_factory=dict)
    receipts: tuple[Receipt, ...] = ()

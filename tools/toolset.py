"""A toolset: some tools and the way to call them. Every kind of tool server is one subclass."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from store.records.canonical import Json
from tools.record import ToolRecord


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool answered. `value` is JSON; with `error` it is a message of the tool's, untrusted as all else."""

    value: Json
    error: bool = False


class Toolset(ABC):
    """Opened once, closed once, called in between. One contract suite in tests/ holds for every subclass."""

    @abstractmethod
    async def open(self) -> None:
        """Start what has to run. Raises Unreachable if it does not start."""

    @abstractmethod
    async def records(self) -> list[ToolRecord]:
        """The tools, each with its record."""

    @abstractmethod
    async def call(self, name: str, arguments: dict[str, Json], timeout_s: float) -> Outcome:
        """Call one tool. Raises ToolFailed if the server is gone or the tool unknown, Timeout if it takes too long."""

    @abstractmethod
    async def close(self) -> None:
        """Stop what `open` started. May be called twice."""

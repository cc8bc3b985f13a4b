"""Step ids. A step's id is its branch path and ordinal, fixed when the step is called."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Branch:
    """One line of steps: `3.1` is the first step inside the third step."""

    prefix: str = ""
    count: int = 0

    def next(self) -> str:
        """The id of the next step on this branch."""
        self.count += 1
        return f"{self.prefix}{self.count}"


current: ContextVar[Branch] = ContextVar("branch")


async def within(path: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work` on a branch of its own below `path`."""
    token = current.set(Branch(f"{path}."))
    try:
        return await work()
    finally:
        current.reset(token)

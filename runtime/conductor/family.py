"""A family: branches of a run that go on at once, and the branch that waits for them.

It knows nothing of steps; it sees to it that every branch it began has ended before the parent goes on for good.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Generic, TypeVar

from runtime.conductor.parking import parks
from runtime.conductor.turns import Turns

T = TypeVar("T")


class Family(Generic[T]):
    """Branches that one branch has begun, and waits for as their parent."""

    def __init__(self, turns: Turns, works: Sequence[Coroutine[Any, Any, T]]) -> None:
        """Begin all of `works`, each as a branch; the parent is away. At least one."""
        self._turns = turns
        self._left = len(works)
        self._enough = 0
        self._parent_waits = True
        turns.begin(len(works))
        self.tasks = [asyncio.ensure_future(self._branch(work)) for work in works]

    async def one(self) -> int:
        """Wait until the first branch has ended, with a result or an error, then stop the others; which it was.

        A branch that is stopped ends what must not be broken off, and only then do we go on.
        """
        self._enough = len(self.tasks) - 1
        await self._wait(asyncio.FIRST_COMPLETED)
        winner = next(index for index, task in enumerate(self.tasks) if task.done())
        await self._stop()
        return winner

    async def all(self) -> None:
        """Wait until every branch has ended. If one meets what parks the run, stop the others."""
        while self._left:
            await self._wait(asyncio.FIRST_EXCEPTION)
            if any(map(parks, self.tasks)):
                await self._stop()

    async def _branch(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        finally:
            self._left -= 1
            if self._parent_waits and self._left <= self._enough:
                self._parent_waits = False  # and goes on in our place
            else:
                self._turns.end()

    async def _wait(self, until: str) -> None:
        try:
            await asyncio.wait([task for task in self.tasks if not task.done()], return_when=until)
        except asyncio.CancelledError:
            await self._stop()
            raise

    async def _stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        self._enough = 0
        if not self._left:
            return
        if not self._parent_waits:
            self._parent_waits = True
            self._turns.end()
        interrupted = False
        while self._left:
            try:
                await asyncio.wait(self.tasks)
            except asyncio.CancelledError:
                interrupted = True
        if interrupted:
            raise asyncio.CancelledError

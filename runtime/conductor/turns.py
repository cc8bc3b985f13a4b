"""Turns: the branches of a run take turns, so that a workflow meets its results in one order, live and replayed.

A branch either runs or is away: in a step, or waiting for branches of its own. One that comes back goes on only when no
other runs; in a replay, only when every step that was recorded before its own has been handed over. So whatever
branches of one run share, they see it change in the recorded order. Nothing here is written down: the order is that of
the events.

The method is that of a deterministic dispatcher, as in Temporal's workflow threads.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from store.records.errors import ReplayMismatch

PATIENCE = 100
"""Turns of the event loop that a recorded step may be late, for what awaits something else between two steps."""


class Turns:
    """The turns of one run. `order` holds the paths of its recorded steps as they were completed."""

    def __init__(self, order: Iterable[str] = ()) -> None:
        self._order = deque(order)
        self._running = 1
        self._replayed: dict[str, asyncio.Future[None]] = {}
        self._new: list[asyncio.Future[None]] = []
        self._back: deque[asyncio.Future[None]] = deque()

    @property
    def replaying(self) -> bool:
        """Whether there are recorded steps that have not been handed over."""
        return bool(self._order)

    async def take(self, path: str) -> None:
        """Wait for the turn of the recorded step at `path`. Raises ReplayMismatch if the step before it never comes."""
        self._running -= 1
        if self._running <= 0 and self._order and self._order[0] == path:
            self._order.popleft()
            self._running += 1
            self._begin_new()
            return
        turn = self._replayed[path] = asyncio.get_running_loop().create_future()
        await self._stand(turn)

    async def leave(self, *, at_once: bool = False) -> None:
        """Go away into a new step, which begins when all recorded ones have been handed over, unless `at_once`."""
        self._running -= 1
        if self._order and not at_once:
            turn = asyncio.get_running_loop().create_future()
            self._new.append(turn)
            await self._stand(turn, new=True)
        self._next()

    async def come_back(self) -> None:
        """Go on, when no other branch runs."""
        if self._running <= 0 and not self._order and not self._back:
            self._running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._back.append(turn)
        await self._stand(turn)

    def break_in(self) -> None:
        """Go on at once, to end: what was awaited was cancelled, or ended in what is no result."""
        self._running += 1

    def begin(self, branches: int) -> None:
        """This many branches begin to run, and the one that begins them goes away."""
        self._running += branches - 1

    def end(self) -> None:
        """A branch runs no more."""
        self._running -= 1
        self._next()

    async def _stand(self, turn: asyncio.Future[None], *, new: bool = False) -> None:
        """Wait for a turn. Whoever had to stop waiting runs, so as to end; a new step is away when its turn comes."""
        self._next()
        try:
            await turn
        except asyncio.CancelledError:
            if new or turn.cancelled():
                self._running += 1
            self._forget(turn)
            raise
        except ReplayMismatch:
            self._running += 1
            raise

    def _next(self, patience: int = PATIENCE) -> None:
        """Let whoever's turn it is go on, if nobody runs."""
        if self._running > 0:
            return
        if not self._order:
            self._begin_new()
            while self._back:
                turn = self._back.popleft()
                if not turn.done():  # else it was cancelled, and goes on to end
                    self._running += 1
                    turn.set_result(None)
                    return
            return
        head = self._replayed.get(self._order[0])
        if head is not None and not head.done():
            del self._replayed[self._order.popleft()]
            self._running += 1
            head.set_result(None)
            self._begin_new()
        elif patience:
            asyncio.get_running_loop().call_soon(self._next, patience - 1)
        else:
            self._give_up()

    def _begin_new(self) -> None:
        """New steps begin once the last recorded one has been handed over."""
        if not self._order:
            for turn in self._new:
                if not turn.done():
                    turn.set_result(None)
            self._new.clear()

    def _give_up(self) -> None:
        """Nobody asks for the step that comes next: the workflow is another one than was recorded."""
        what = "the workflow no longer asks for a step that was recorded"
        error = ReplayMismatch(what, f"step {self._order[0]}", "finish the run with the workflow it began with")
        standing = [*self._replayed.values(), *self._new, *self._back]
        self._replayed.clear()
        self._new.clear()
        self._back.clear()
        for turn in standing:
            if not turn.done():
                turn.set_exception(error)

    def _forget(self, turn: asyncio.Future[None]) -> None:
        self._replayed = {path: each for path, each in self._replayed.items() if each is not turn}
        self._new = [each for each in self._new if each is not turn]
        self._back = deque(each for each in self._back if each is not turn)

"""The clock of one run: how long it may still take. It stands still where a run must not be broken off."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from store.records.errors import BailiwickError

T = TypeVar("T")


class Clock:
    """Time for one life of a run, in seconds; a run that is resumed gets it anew.

    What happens under `stopped` does not count and is never cut short: a person may take their time, and an effect
    that is under way has limits of its own and must come to its outcome.
    """

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._stops = 0
        self._rest = 0.0

    async def limit(self, work: Awaitable[T], late: BailiwickError) -> T:
        """`work`, or the error `late` if it takes longer. Once only."""
        try:
            async with self._timeout:
                return await work
        except TimeoutError:
            if self._timeout.expired():
                raise late from None
            raise

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the clock meanwhile. Several branches may do so at once."""
        deadline, now = self._timeout.when(), asyncio.get_running_loop().time
        self._stops += 1
        if self._stops == 1 and deadline is not None and not self._timeout.expired():
            self._rest = deadline - now()
            self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._stops -= 1
            if self._stops == 0 and not self._timeout.expired():
                self._timeout.reschedule(now() + self._rest)

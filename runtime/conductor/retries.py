"""Retries: when a run is tried again that was parked because something it needs was away.

The pauses grow exponentially up to a limit, and each is drawn evenly between nothing and that ("full jitter", M.
Brooker, Exponential Backoff and Jitter, AWS Architecture Blog 2015): a hundred runs whose tool server died do not all
come back at once. There is no last try. A run stops being tried when it gets on, is stopped by a person, or has ended.

Nothing here is written down: a start of the runtime tries every open run, and counts from there.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from store.records.errors import BailiwickError

BASE_S = 1.0
LONGEST_S = 300.0


@dataclass(frozen=True, slots=True)
class Retry:
    """The next try of a run: the how manieth in a row, at which time of the event loop, and why the last one failed.

    `got` is how many steps the last one came past.
    """

    number: int
    due: float
    error: BailiwickError
    got: int
    timer: asyncio.TimerHandle


@dataclass
class Retries:
    """The runs that are to be tried again. `drive` is called with each when its time has come."""

    drive: Callable[[str], None]
    draw: Callable[[float], float] = lambda most: random.SystemRandom().uniform(0, most)
    _next: dict[str, Retry] = field(default_factory=dict)

    def put_off(self, run: str, error: BailiwickError, got: int) -> None:
        """Try a run again later, because of `error`: soon, if it came further than the last time."""
        before = self._next.get(run)
        number = before.number + 1 if before and got <= before.got else 1
        loop = asyncio.get_running_loop()
        pause = self.draw(min(LONGEST_S, BASE_S * 2.0 ** min(number - 1, 30)))
        self._next[run] = Retry(number, loop.time() + pause, error, got, loop.call_later(pause, self.drive, run))

    def begun(self, run: str) -> None:
        """A run is being tried, for whatever reason: its timer is not needed any more."""
        if retry := self._next.get(run):
            retry.timer.cancel()

    def forget(self, run: str) -> None:
        """A run is not to be tried again."""
        if retry := self._next.pop(run, None):
            retry.timer.cancel()

    def of(self, run: str) -> tuple[float, BailiwickError] | None:
        """In how many seconds a run is tried again, and why the last try failed; None if it is not."""
        if (retry := self._next.get(run)) is None:
            return None
        return max(0.0, retry.due - asyncio.get_running_loop().time()), retry.error

    def close(self) -> None:
        """Try nothing again."""
        for run in tuple(self._next):
            self.forget(run)

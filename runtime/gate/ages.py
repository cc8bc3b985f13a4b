"""How long ago something was, whatever was done to the clock meanwhile: what has run out stays so.

Within one life of the runtime the machine's monotonic clock has a say as well as the one on the wall, across lives the
log, which knows by how much the clock on the wall was set back. The greater age counts.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from store.records.event import Event

Wall = Callable[[], datetime]


def utc() -> datetime:
    """The time on the wall, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Age:
    """The age of one event, in seconds: it was at least `lead` when the monotonic clock showed `mono`."""

    at: datetime
    lead: float
    mono: float
    wall: Wall

    def __call__(self) -> float:
        """Its age now."""
        return max(self.lead + time.monotonic() - self.mono, (self.wall() - self.at).total_seconds())


class Ages:
    """The ages of events. `epoch` is the one that is under way, `newest` the time of the last event before it."""

    def __init__(self, epoch: int, newest: str, set_back: Iterable[Event], wall: Wall = utc) -> None:
        """`set_back` are the events that say that the clock was set back, and by how many milliseconds."""
        self._epoch, self._wall = epoch, wall
        self._back = [(event.seq, int(event.step) / 1000) for event in set_back]
        # What nobody has put on record yet: the clock was set back while no runtime was up.
        self._lag = max(0.0, (datetime.fromisoformat(newest) - wall()).total_seconds()) if newest else 0.0
        self._began = time.monotonic()
        self._lead = wall()

    def of(self, event: Event) -> Age:
        """The age of an event, which goes on growing."""
        at, mono = datetime.fromisoformat(event.time), time.monotonic()
        if event.epoch == self._epoch:
            return Age(at, 0.0, mono, self._wall)
        back = self._lag + sum(seconds for seq, seconds in self._back if seq > event.seq)
        lead = (self._lead - at).total_seconds() + back + mono - self._began
        return Age(at, max(0.0, lead), mono, self._wall)

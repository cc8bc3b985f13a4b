"""The queues: which run may be driven now, and which must wait for a place.

A run takes a place in its queue when it is driven, and gives it back when nobody drives it any more: it has ended, was
parked, paused or cancelled. One that waits for a person, a signal or a time keeps its place, for other branches of it
may be at work. A run that another began takes none: it is part of that one, which holds a place until both are done.

What a queue allows is a matter of the settings; what was submitted and started is in the ledger, so nothing here needs
to outlive the runtime.
"""

import asyncio
import time
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from runtime.settings import QueueLimits

DEFAULT = "default"
"""The queue of a run that names none. It needs no declaration, and has no limits without one."""
WINDOW_S = 60.0
"""Rates are of starts within this time, wherever in it they were."""


@dataclass(order=True, frozen=True)
class Ticket:
    """A run that asks for a place. In order: what has been started before, then as they were submitted.

    `seq` is the number of the run's first event, `since` the UTC time at which it was submitted, in ISO 8601.
    """

    new: bool
    seq: int
    run: str = field(compare=False)
    tenant: str = field(compare=False)
    since: str = field(compare=False)


@dataclass
class Queue:
    """One queue: who waits, in order, and who has a place. Times are seconds of any clock that never goes back.

    First come, first served; but a tenant that is at a limit of its own holds up nobody else.
    """

    limits: QueueLimits
    waiting: list[Ticket] = field(default_factory=list)
    driven: dict[str, Ticket] = field(default_factory=dict)
    tenants: Counter[str] = field(default_factory=Counter)
    starts: deque[tuple[float, str]] = field(default_factory=deque)

    def admit(self, now: float) -> tuple[list[Ticket], float]:
        """Give places to those whose turn it is; they, and in how many seconds a rate may let in one more (or inf).

        What was started before is no new start, and no rate holds it up.
        """
        limits, again = self.limits, inf
        placed: list[Ticket] = []
        held_up: set[str] = set()
        for ticket in tuple(self.waiting):
            tenant = ticket.tenant
            if len(self.driven) >= (limits.concurrency or inf):
                break
            if tenant in held_up or self.tenants[tenant] >= (limits.tenant_concurrency or inf):
                continue
            if ticket.new and (wait := self._wait_s(now, limits.per_minute)):
                again = min(again, wait)
                break
            if ticket.new and (wait := self._wait_s(now, limits.tenant_per_minute, tenant)):
                again = min(again, wait)
                held_up.add(tenant)
                continue
            if ticket.new:
                self.starts.append((now, tenant))
            self.waiting.remove(ticket)
            self.driven[ticket.run] = ticket
            self.tenants[tenant] += 1
            placed.append(ticket)
        return placed, again

    def leave(self, run: str) -> None:
        """Take back a run's place, or its wait for one."""
        if ticket := self.driven.pop(run, None):
            self.tenants[ticket.tenant] -= 1
        else:
            self.waiting = [each for each in self.waiting if each.run != run]

    def _wait_s(self, now: float, most: int | None, tenant: str = "") -> float:
        """The seconds until one more start is within a rate, of a tenant if one is named; 0 if it is now."""
        while self.starts and self.starts[0][0] <= now - WINDOW_S:
            self.starts.popleft()
        if most is None:
            return 0.0
        counted = [at for at, by in self.starts if tenant in ("", by)]
        return counted[-most] + WINDOW_S - now if len(counted) >= most else 0.0


@dataclass
class Queues:
    """All queues of one core. `drive` is called with each run that gets a place."""

    limits: Mapping[str, QueueLimits]
    drive: Callable[[str], None]
    now: Callable[[], float] = time.monotonic
    queues: dict[str, Queue] = field(default_factory=dict)
    _asked: dict[str, tuple[str, asyncio.Event]] = field(default_factory=dict)
    _timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in {DEFAULT, *self.limits}:
            self.queues[name] = Queue(self.limits.get(name, QueueLimits()))

    def started(self, starts: Iterable[tuple[str, str, float]]) -> None:
        """Count what was started before this core: queue, tenant and age in seconds of each, oldest first.

        One that the wall clock, which was set back, says is yet to come counts as of now.
        """
        for name, tenant, age in starts:
            if queue := self.queues.get(name or DEFAULT):
                queue.starts.append((self.now() - max(0.0, age), tenant))

    def knows(self, name: str) -> bool:
        """Whether there is such a queue; no name stands for the default."""
        return (name or DEFAULT) in self.queues

    def ask(self, name: str, ticket: Ticket) -> None:
        """Ask for a place in a queue that there is; it may be given at once. A run that has asked already has."""
        if ticket.run in self._asked:
            return
        name = name or DEFAULT
        self._asked[ticket.run] = name, asyncio.Event()
        insort(self.queues[name].waiting, ticket)
        self._admit(name)

    def leave(self, run: str) -> None:
        """Give back a run's place, or no longer wait for one."""
        if run not in self._asked:
            return
        name, placed = self._asked.pop(run)
        self.queues[name].leave(run)
        placed.set()
        self._admit(name)

    @contextmanager
    def withdrawn(self, run: str) -> Iterator[None]:
        """Meanwhile a run that waits for a place gets none; after that it waits no more."""
        if self.waits(run):
            self.queues[self._asked[run][0]].leave(run)
        try:
            yield
        finally:
            self.leave(run)

    def waits(self, run: str) -> bool:
        """Whether a run waits for a place."""
        return run in self._asked and run not in self.queues[self._asked[run][0]].driven

    @property
    def count(self) -> int:
        """How many runs wait for a place."""
        return sum(len(queue.waiting) for queue in self.queues.values())

    async def placed(self, run: str) -> None:
        """Wait until a run no longer waits: it has got a place, or has left."""
        if self.waits(run):
            await self._asked[run][1].wait()

    def close(self) -> None:
        """Give no more places."""
        for timer in self._timers.values():
            timer.cancel()
        for queue in self.queues.values():
            queue.waiting.clear()
        for _, placed in self._asked.values():
            placed.set()
        self._asked.clear()

    def _admit(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
        placed, again = self.queues[name].admit(self.now())
        if again < inf:
            self._timers[name] = asyncio.get_running_loop().call_later(again, self._admit, name)
        for ticket in placed:
            self._asked[ticket.run][1].set()
            self.drive(ticket.run)

"""What is on record of runs that are about to be driven, read for many at once: most of a query's time is its own.

A past that something was added to since is never given. What cannot be read together is left to be read alone.
"""

from collections.abc import Iterable

from runtime.conductor.past import Past
from store.ledger.ledger import Ledger
from store.ledger.reader import RunRow
from store.records.errors import BailiwickError

TOGETHER = 2000
"""Events that are read at once, and the most pasts at hand."""


class Pasts:
    """The pasts at hand. Whoever adds an event to a run says so with `changed` before. One event loop owns it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._at_hand: dict[str, Past] = {}
        self._expected: dict[str, int] = {}

    def expect(self, rows: Iterable[RunRow]) -> None:
        """These runs, which nobody drives, are about to be."""
        self._expected.update((row.run, row.events) for row in rows)

    def put(self, run: str, past: Past) -> None:
        """This is all that is on record of a run."""
        if len(self._at_hand) < TOGETHER:
            self._at_hand[run] = past

    def changed(self, run: str) -> None:
        """There is more on record of a run than was read, or is about to be."""
        self._at_hand.pop(run, None)
        self._expected.pop(run, None)

    def take(self, run: str) -> Past | None:
        """A run's own events with their payloads, oldest first; None if it is to be read alone."""
        if run not in self._at_hand and run in self._expected:
            self._read(self._next(run))
        return self._at_hand.pop(run, None)

    def _next(self, run: str) -> list[str]:
        """A run and those expected after it, as many as are read together. They are expected no more."""
        runs, events = [run], self._expected.pop(run)
        for each in list(self._expected):
            if events + self._expected[each] > TOGETHER:
                break
            events += self._expected.pop(each)
            runs.append(each)
        return runs

    def _read(self, runs: list[str]) -> None:
        try:
            events = self._ledger.events_of(runs)
            payloads = self._ledger.payloads(events)
        except BailiwickError:
            return  # one of them is damaged, and reading it alone tells which
        for event, payload in zip(events, payloads, strict=True):
            self._at_hand.setdefault(event.run, []).append((event, payload))

"""The applier: the one thread that changes the database. What the journal has, it files in the tables, and it signs
checkpoints over what is there.

It takes as much as has come since its last commit (group commit: DeWitt et al., Implementation Techniques for Main
Memory Database Systems, 1984), at once if somebody wants to read, and soon if nobody does. The first failure ends it:
what it has not filed is still in the journal.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from store.ledger.entry import Entry
from store.ledger.notary import Notary
from store.ledger.tables import Tables, batches
from store.ledger.tree import Tile

BATCH = 1000
"""The most events of one commit."""
LINGER_S = 0.1
"""How long what nobody reads may wait for more, in seconds."""
AHEAD = 20 * BATCH
AHEAD_BYTES = 64 * 2**20
"""How many events, and bytes of them, may wait to be filed before whoever brings more has to wait, too."""


class Applier:
    """Owns the tables from `start` to `stop`. `put` belongs to one thread; the rest is for any."""

    def __init__(
        self,
        tables: Tables,
        notary: Notary,
        tiles: list[Tile],
        *,
        filed: Callable[[int], None],
        keep: Callable[[str, datetime], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """`tiles` are those that an earlier version did not store; they go with the first commit.

        `filed` gets the number of the last event that is on disk in the tables; `keep` each checkpoint once it is
        there, with the time in UTC; `fail` what ended the thread. None may raise, take long, or wait for an append or a
        reader: these may be waiting for us.
        """
        self._tables = tables
        self._notary = notary
        self._tiles = tiles
        self._filed, self._keep, self._fail = filed, keep, fail
        self._changed = threading.Condition()
        self._waiting: deque[Entry] = deque()
        self._bytes = 0
        self._put = self._done = 0
        self._since = 0.0
        self._urged = self._stopping = self._ended = False
        self._asked: list[threading.Event] = []
        self._thread = threading.Thread(target=self._run, name="ledger-applier", daemon=True)

    def start(self) -> None:
        """Begin to file."""
        self._thread.start()

    def put(self, entries: Sequence[Entry]) -> None:
        """Have entries filed that the journal has. Blocks while too many wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not self._crowded())
            self._since = self._since if self._waiting else time.monotonic()
            self._waiting.extend(entries)
            self._bytes += sum(map(_size, entries))
            self._put = entries[-1].event.seq
            if self._urged or len(self._waiting) >= BATCH or len(self._waiting) == len(entries):
                self._changed.notify_all()

    def settle(self) -> bool:
        """Return when all that was put before is in the tables; False if it never will be."""
        if self._done >= self._put:
            return True
        with self._changed:
            wanted = self._put
            self._urged = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ended or self._done >= wanted)
            return self._done >= wanted

    def checkpoint(self) -> threading.Event:
        """Have a checkpoint signed over all that was put before. What is returned is set when it is there."""
        signed = threading.Event()
        with self._changed:
            self._asked.append(signed)
            self._changed.notify_all()
        return signed

    def stop(self) -> bool:
        """File what waits and sign a checkpoint over all, then end. Whether all of it is done."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        return self._done == self._put

    def _run(self) -> None:
        try:
            more = True
            while more:
                entries, asked, more = self._take()
                for batch in batches(entries, BATCH):
                    self._file(batch)
                due = self._notary.due_s()
                if due == 0 or (due is not None and (asked or not more)):
                    self._sign()
                for waiting in asked:
                    waiting.set()
        except BaseException as error:  # whatever it is: nobody may go on waiting for a thread that is gone
            self._fail(error)
            self._tables.drop()
        finally:
            self._tables.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self) -> tuple[list[Entry], list[threading.Event], bool]:
        """What is to be filed now, who waits for a checkpoint after it, and whether more may follow."""
        with self._changed:
            while not self._due():
                self._changed.wait(self._left_s())
            entries, asked = list(self._waiting), self._asked
            self._waiting.clear()
            self._asked, self._urged, self._bytes = [], False, 0
            self._changed.notify_all()
            return entries, asked, not self._stopping

    def _due(self) -> bool:
        urgent = self._stopping or self._asked or (self._waiting and (self._urged or len(self._waiting) >= BATCH))
        return bool(urgent) or self._left_s() == 0

    def _left_s(self) -> float | None:
        """Seconds until something is to be done; None if nothing is."""
        lingers = max(0.0, self._since + LINGER_S - time.monotonic()) if self._waiting else None
        return min((each for each in (lingers, self._notary.due_s()) if each is not None), default=None)

    def _crowded(self) -> bool:
        return len(self._waiting) >= AHEAD or self._bytes >= AHEAD_BYTES

    def _file(self, batch: Sequence[Entry]) -> None:
        for entry in batch:
            self._tiles += self._notary.enter(entry.data, entry.digest)
        self._tables.file(batch, self._tiles)
        if self._tiles:
            self._notary.tree.stored()
            self._tiles.clear()
        last = batch[-1].event.seq
        self._filed(last)
        with self._changed:
            self._done = last
            self._changed.notify_all()

    def _sign(self) -> None:
        size, note = self._notary.sign()
        now = datetime.now(UTC).replace(tzinfo=None)
        self._tables.sign(size, now, note)
        self._keep(note, now)


def _size(entry: Entry) -> int:
    return len(entry.data) + (len(entry.payload.data) if entry.payload else 0)

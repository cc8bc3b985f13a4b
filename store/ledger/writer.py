"""The writer: the thread by which events get onto the disk. It puts them into the journal, in the order of its queue,
and says that they are there; the applier files them.

It takes whatever has queued up while the last sync was on its way to the disk, and what comes until somebody waits, and
syncs once for all of it. The first failure ends it: what was not acknowledged by then never will be, though the next
start may find it on the disk.
"""

import queue
import threading
import time

from store.ledger.applier import Applier
from store.ledger.entry import Entry
from store.ledger.errors import LedgerFailed, first_line
from store.ledger.journal import Journal
from store.ledger.watermark import Watermark

BATCH = 1000
"""The most events of one sync."""

LINGER_S = 0.02
"""How long an event that nobody waits for may wait for others to come with it, in seconds."""

_NOW = 1e-9
"""A time that has passed."""

CHECK_S = 1.0
"""How often somebody who waits for a checkpoint looks whether one can still come, in seconds."""


class Writer:
    """Owns the journal from `start` to `stop`."""

    def __init__(self, journal: Journal, applier: Applier, watermark: Watermark, where: str) -> None:
        """`applier` gets what the journal has; `watermark` rises as it does."""
        self._journal = journal
        self._applier = applier
        self._watermark = watermark
        self._where = where
        self._queue: queue.SimpleQueue[Entry | threading.Event | bool | None] = queue.SimpleQueue()
        watermark.urge = self.hurry
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._applier.start()
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue an entry; the caller sees to the order."""
        self._queue.put(entry)

    def hurry(self) -> None:
        """Somebody waits: what is queued is to be on the disk at once."""
        self._queue.put(True)

    def checkpoint(self) -> None:
        """Block until a checkpoint covers all that was queued before. Raises LedgerFailed."""
        passed = threading.Event()
        self._queue.put(passed)
        self._await(passed)
        self._await(self._applier.checkpoint())

    def stop(self) -> bool:
        """Write what is queued and a checkpoint over all, then end. Whether all that was acknowledged is filed."""
        self._queue.put(None)
        self._thread.join()
        whole = self._applier.stop()
        self._journal.close(empty=whole)
        return whole

    def fail(self, error: BaseException) -> None:
        """Nothing more is taken, because of this."""
        what = f"the ledger cannot be written: {first_line(error)}"
        do = "see to the disk, then start again; everything acknowledged is kept"
        self._watermark.fail(LedgerFailed(what, self._where, do))

    def _await(self, passed: threading.Event) -> None:
        while not passed.wait(CHECK_S):
            self._watermark.check()

    def _run(self) -> None:
        try:
            more = True
            while more:
                batch, passed, more = self._take()
                if batch:
                    self._watermark.check()
                    self._journal.append(batch)
                    self._applier.put(batch)
                    self._watermark.reach(batch[-1].event.seq)
                for each in passed:
                    each.set()
        except BaseException as error:  # whatever it is: nobody may go on waiting for a writer that is gone
            self.fail(error)

    def _take(self) -> tuple[list[Entry], list[threading.Event], bool]:
        """The next batch, who waits until it is written, and whether another may follow.

        Blocks until there is something that somebody waits for, or that has waited long enough.
        """
        batch: list[Entry] = []
        passed: list[threading.Event] = []
        left: float | None = None
        end = 0.0
        try:
            while len(batch) < BATCH:
                match self._queue.get(timeout=left):
                    case None:
                        return batch, passed, False
                    case Entry() as entry:
                        batch.append(entry)
                        end = end or time.monotonic() + LINGER_S
                    case threading.Event() as each:
                        passed.append(each)
                        end = _NOW
                    case _:
                        end = _NOW
                left = max(0.0, end - time.monotonic())
        except queue.Empty:
            pass
        return batch, passed, True

"""The writer: the one thread that changes the database: events, what they refer to, and checkpoints over them.

It takes whatever has queued up while the last commit was on its way to the disk, and what comes until somebody waits,
and commits it as one transaction (group commit: DeWitt et al., Implementation Techniques for Main Memory Database
Systems, 1984). Order is the order of the queue. The first failure ends it: what was not acknowledged by then never
will be.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from store.ledger import schema
from store.ledger.archive import Payload
from store.ledger.errors import LedgerFailed
from store.ledger.notary import Notary
from store.ledger.tree import Tile
from store.ledger.watermark import Watermark
from store.records.event import Event

BATCH = 1000
"""The most events of one commit."""

LINGER_S = 0.02
"""How long an event that nobody waits for may wait for others to come with it, in seconds: most of what a commit costs
it costs for one event as for a hundred."""

_NOW = 1e-9
"""A time that has passed."""

CHECK_S = 1.0
"""How often somebody who waits for a checkpoint looks whether one can still come, in seconds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the writer gets for one event: the event, its canonical bytes, their hash, and the payload it refers to.

    `erases` are the ids of payloads that go as this event comes.
    """

    event: Event
    data: bytes
    digest: str
    payload: Payload | None
    erases: Sequence[str] = ()


class Writer:
    """Owns the connection from `start` to `stop`."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        watermark: Watermark,
        notary: Notary,
        tiles: list[Tile],
        keep: Callable[[str, datetime], None],
        where: str,
    ) -> None:
        """`tiles` are those that an earlier version did not store; they go with the first commit.

        `keep` gets each checkpoint once it is on disk here, with the time in UTC; it must not raise.
        """
        self._connection = connection
        self._watermark = watermark
        self._notary = notary
        self._tiles = tiles
        self._keep = keep
        self._where = where
        self._queue: queue.SimpleQueue[Entry | threading.Event | bool | None] = queue.SimpleQueue()
        watermark.urge = self.hurry
        # Kept open: making an appender costs as much as a third of a commit.
        self._appenders = {table: connection.appender(table) for table in ("payloads", "events", "tiles")}
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue an entry; the caller sees to the order."""
        self._queue.put(entry)

    def hurry(self) -> None:
        """Somebody waits: what is queued is to be committed at once."""
        self._queue.put(True)

    def checkpoint(self) -> None:
        """Block until a checkpoint covers all that was queued before. Raises LedgerFailed."""
        signed = threading.Event()
        self._queue.put(signed)
        while not signed.wait(CHECK_S):
            self._watermark.check()

    def stop(self) -> None:
        """Write what is queued and a checkpoint over all, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            more = True
            while more:
                batch, asked, more = self._take()
                if batch:
                    self._commit(batch)
                    self._watermark.reach(batch[-1].event.seq)
                due = self._notary.due_s()
                if due == 0 or (due is not None and (asked or not more)):
                    self._sign()
                for waiting in asked:
                    waiting.set()
        except BaseException as error:  # whatever it is: nobody may go on waiting for a writer that is gone
            self._watermark.fail(
                LedgerFailed(
                    f"the ledger cannot be written: {first_line(error)}",
                    self._where,
                    "see to the disk, then start again; everything acknowledged is kept",
                )
            )
            self._drop()
        finally:
            self._appenders.clear()

    def _drop(self) -> None:
        """Forget what was not committed; rows left in an appender could otherwise follow on their own."""
        with contextlib.suppress(duckdb.Error):
            for appender in self._appenders.values():
                appender.clear()
            self._connection.rollback()

    def _take(self) -> tuple[list[Entry], list[threading.Event], bool]:
        """The next batch, who waits for a checkpoint after it, and whether another may follow.

        Blocks until there is something that somebody waits for, or that has waited long enough, or a checkpoint is due.
        """
        batch: list[Entry] = []
        asked: list[threading.Event] = []
        left, end = self._notary.due_s(), 0.0
        try:
            while len(batch) < BATCH:
                match self._queue.get(timeout=left):
                    case None:
                        return batch, asked, False
                    case Entry() as entry:
                        batch.append(entry)
                        if entry.erases:  # what comes after it may be said anew
                            break
                        end = end or time.monotonic() + LINGER_S
                    case threading.Event() as signed:
                        asked.append(signed)
                        end = _NOW
                    case _:
                        end = _NOW
                left = max(0.0, end - time.monotonic())
        except queue.Empty:
            pass
        return batch, asked, True

    def _commit(self, batch: list[Entry]) -> None:
        self._connection.begin()
        payloads = self._unknown({entry.payload.id: entry.payload for entry in batch if entry.payload})
        if payloads:
            self._append("payloads", [payload.row for payload in payloads])
        self._append("events", [schema.row(entry.event, entry.data, entry.digest) for entry in batch])
        for entry in batch:
            self._tiles += self._notary.enter(entry.data, entry.digest)
        if self._tiles:
            self._append("tiles", self._tiles)
        if erases := list(batch[-1].erases):
            self._connection.execute("DELETE FROM payloads WHERE id IN (SELECT unnest(?))", [erases])
            self._connection.execute("INSERT INTO tombstones SELECT unnest(?), ?", [erases, batch[-1].event.seq])
        self._connection.commit()
        if self._tiles:
            self._notary.tree.stored()
            self._tiles.clear()

    def _sign(self) -> None:
        size, note = self._notary.sign()
        now = datetime.now(UTC).replace(tzinfo=None)
        self._connection.execute("INSERT INTO checkpoints VALUES (?, ?, ?)", [size, now, note])
        self._keep(note, now)

    def _append(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._appenders[table].append_rows(rows)
        self._appenders[table].flush()

    def _unknown(self, payloads: dict[str, Payload]) -> list[Payload]:
        """Those that are not in the archive yet."""
        if not payloads:
            return []
        found = self._connection.execute("SELECT id FROM payloads WHERE id IN ?", [list(payloads)]).fetchall()
        return [payloads[each] for each in payloads.keys() - {row[0] for row in found}]


def first_line(error: BaseException) -> str:
    """What an error says, cut to its first line: DuckDB appends hints and stack traces."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__

"""The writer: the one thread that changes the database.

It takes whatever has queued up while the last commit was on its way to the disk and commits it as one transaction
(group commit: DeWitt et al., Implementation Techniques for Main Memory Database Systems, 1984). Order is the order of
the queue. The first failure ends it: what was not acknowledged by then never will be.
"""

import contextlib
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from store.ledger import schema
from store.ledger.archive import Payload
from store.ledger.errors import LedgerFailed
from store.ledger.watermark import Watermark
from store.records.event import Event

BATCH = 1000
"""The most events of one commit."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the writer gets for one event: the event, its canonical bytes, their hash, and the payload it refers to."""

    event: Event
    data: bytes
    digest: str
    payload: Payload | None


class Writer:
    """Owns the connection from `start` to `stop`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, watermark: Watermark, where: str) -> None:
        self._connection = connection
        self._watermark = watermark
        self._where = where
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        # Kept open: making an appender costs as much as a third of a commit.
        self._appenders = {table: connection.appender(table) for table in ("payloads", "events")}
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue an entry; the caller sees to the order."""
        self._queue.put(entry)

    def stop(self) -> None:
        """Write what is queued, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            more = True
            while more:
                batch, more = self._take()
                if batch:
                    self._commit(batch)
                    self._watermark.reach(batch[-1].event.seq)
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

    def _take(self) -> tuple[list[Entry], bool]:
        """The next batch, and whether another may follow. Blocks until there is something."""
        batch: list[Entry] = []
        entry = self._queue.get()
        while entry is not None:
            batch.append(entry)
            if len(batch) == BATCH:
                return batch, True
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: list[Entry]) -> None:
        self._connection.begin()
        payloads = self._unknown({entry.payload.id: entry.payload for entry in batch if entry.payload})
        if payloads:
            self._append("payloads", [payload.row for payload in payloads])
        self._append("events", [schema.row(entry.event, entry.data, entry.digest) for entry in batch])
        self._connection.commit()

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

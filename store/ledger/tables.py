"""Filing: entries into the tables, each batch in one transaction."""

import contextlib
from collections.abc import Sequence

import duckdb

from store.ledger import schema
from store.ledger.archive import Payload, place
from store.ledger.entry import Entry
from store.ledger.tree import Tile


class Tables:
    """The tables of a connection that one thread writes to. Raises duckdb.Error in whatever it does."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        # Kept open: making an appender costs as much as a third of a commit.
        self._appenders = {table: connection.appender(table) for table in ("payloads", "events", "tiles")}

    def file(self, entries: Sequence[Entry], tiles: Sequence[Tile] = ()) -> None:
        """Commit entries, of which only the last may erase, and tiles."""
        self._connection.begin()
        payloads = self._unknown({entry.payload.id: entry.payload for entry in entries if entry.payload})
        if payloads:
            self._append("payloads", [payload.row for payload in payloads])
        self._append("events", [schema.row(entry.event, entry.digest) for entry in entries])
        if tiles:
            self._append("tiles", tiles)
        if erases := list(entries[-1].erases):
            self._connection.execute("DELETE FROM payloads WHERE id IN (SELECT unnest(?))", [erases])
            self._connection.execute("INSERT INTO tombstones SELECT unnest(?), ?", [erases, entries[-1].event.seq])
        self._connection.commit()

    def complete(self, tiles: Sequence[Tile]) -> None:
        """Commit tiles over events that are there."""
        self._connection.begin()
        self._append("tiles", tiles)
        self._connection.commit()

    def sign(self, size: int, time: object, note: str) -> None:
        """Commit a checkpoint over so many events; the time is in UTC, without a zone."""
        self._connection.execute("INSERT INTO checkpoints VALUES (?, ?, ?)", [size, time, note])

    def drop(self) -> None:
        """Forget what was not committed; rows left in an appender could otherwise follow on their own."""
        for forget in (*(appender.clear for appender in self._appenders.values()), self._connection.rollback):
            with contextlib.suppress(duckdb.Error):
                forget()

    def close(self) -> None:
        """Let go of the connection."""
        self._appenders.clear()

    def _append(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._appenders[table].append_rows(rows)
        self._appenders[table].flush()

    def _unknown(self, payloads: dict[str, Payload]) -> list[Payload]:
        """Those that are not in the archive yet."""
        if not payloads:
            return []
        places = [place(id) for id in payloads]
        found = self._connection.execute("SELECT id FROM payloads WHERE place IN ?", [places]).fetchall()
        return [payloads[each] for each in payloads.keys() - {row[0] for row in found}]


def batches(entries: Sequence[Entry], size: int) -> list[Sequence[Entry]]:
    """Entries in runs of so many at most, each ended by one that erases: what comes after it may be said anew."""
    found, begin = [], 0
    for end, entry in enumerate(entries, 1):
        if entry.erases or end - begin == size or end == len(entries):
            found.append(entries[begin:end])
            begin = end
    return found

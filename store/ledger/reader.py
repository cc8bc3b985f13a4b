"""The reader: events and runs out of the tables. It sees what is committed, and changes nothing.

Events come from their columns; the canonical bytes that follow from these are compared with the hash each time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from store.keys.errors import Shredded
from store.ledger import schema
from store.ledger.archive import Payload, place
from store.ledger.errors import LedgerFailed, first_line
from store.records.errors import IntegrityError, SettingsError
from store.records.event import Event
from store.records.kinds import Kind

TOGETHER = 1000
"""Payloads of one query: few enough that DuckDB goes by the index, many enough that the query costs little of each."""

_RUN_COLUMNS = (
    "run, tenant, principal, workflow, workflow_version, queue, begun, status, "
    f"strftime(started, {schema.TIME}), coalesce(strftime(ended, {schema.TIME}), ''), "
    "events, model_calls, tokens, device_ms, cost_micros, first_seq, last_seq, epoch, submission, outcome"
)


EVERYTHING = 2**31
"""The limit that is none."""

DAMAGE = "`bailiwick audit verify` names all damage"
_SEQ, _HASH = schema.FIELDS.index("seq"), len(schema.FIELDS)  # earlier formats have more columns, after these

PAYLOAD = "id, tenant, key, size, data"
"""The select list of a Payload."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run, summed up from its events.

    `status` is how it ended, or `queued` (it was never started), `running`, `waiting` (for a person, a signal or a
    time), `paused`, or `parked` (its last event says so). `queue` is the one it was submitted to, empty if it named
    none; `begun` tells whether it was ever started. `epoch` is its last event's: a run that none of this epoch's events
    tells of is driven by nobody. Times are UTC ISO 8601; `submission` and `outcome` are the payload ids of its first
    event and of its last, empty if there is none. `model_calls` counts events with a model digest and tokens.
    """

    run: str
    tenant: str
    principal: str
    workflow: str
    workflow_version: int
    queue: str
    begun: bool
    status: str
    started: str
    ended: str
    events: int
    model_calls: int
    tokens: int
    device_ms: int
    cost_micros: int
    first_seq: int
    last_seq: int
    epoch: int
    submission: str
    outcome: str


class Reader:
    """Safe from any thread: every question gets a cursor, which is a connection of its own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, where: str) -> None:
        self._connection = connection
        self._where = where
        self.settle: Callable[[], None] = _nothing
        """Blocks until all that was acknowledged can be read. Raises LedgerFailed if it never can."""

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for as long as it is needed. Raises LedgerFailed if the database does not answer."""
        self.settle()
        try:
            cursor = self._connection.cursor()
            try:
                yield cursor
            finally:
                cursor.close()
        except duckdb.Error as error:
            raise LedgerFailed(f"the ledger cannot be read: {first_line(error)}", self._where) from None

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.cursor() as cursor:
            return cursor.execute(query, values).fetchall()

    def events(
        self, after: int = 0, run: str = "", limit: int = 500, kinds: Sequence[str] = (), tenant: str | None = None
    ) -> list[Event]:
        """Up to `limit` events numbered above `after`, in order; of one run, some kinds, a tenant, if given."""
        asked: dict[str, object] = {"seq > ?": after}
        if run:
            asked["run = ?"] = run
        if kinds:
            asked["kind IN ?"] = [str(kind) for kind in kinds]
        if tenant is not None:
            asked["tenant = ?"] = tenant
        query = f"FROM events WHERE {' AND '.join(asked)} ORDER BY seq LIMIT ?"
        return [read_event(row) for row in self.rows(query, *asked.values(), limit)]

    def events_of(self, runs: Sequence[str]) -> list[Event]:
        """All events of several runs, in order."""
        return [read_event(row) for row in self.rows("FROM events WHERE run IN ? ORDER BY seq", list(runs))]

    def newest_caused(self, kind: str) -> list[Event]:
        """Of the events of a kind that another event caused, the newest of each cause."""
        newest = "SELECT max(seq) FROM events WHERE kind = ? AND cause > 0 GROUP BY cause"
        return [read_event(row) for row in self.rows(f"FROM events WHERE seq IN ({newest}) ORDER BY seq", str(kind))]

    def event(self, seq: int) -> Event | None:
        """The event of this number; None if it is not there."""
        found = self.rows("FROM events WHERE seq = ?", seq)
        return read_event(found[0]) if found else None

    def unsettled(self) -> list[Event]:
        """The events of effects, in order, but for those of ended runs that came to an outcome."""
        kinds = (Kind.EFFECT_INTENT, Kind.EFFECT_OUTCOME, Kind.EFFECT_IN_DOUBT, Kind.EFFECT_SETTLED)
        ended = f"SELECT run FROM events WHERE kind = '{Kind.RUN_ENDED}'"
        closed = f"SELECT run, step FROM events WHERE kind = '{Kind.EFFECT_OUTCOME}'"
        open_ = f"(run NOT IN ({ended}) OR (run, step) NOT IN ({closed}))"
        query = f"FROM events WHERE kind IN {tuple(map(str, kinds))} AND {open_} ORDER BY seq"
        return [read_event(row) for row in self.rows(query)]

    def last_seq(self) -> int:
        """The number of the last committed event; 0 if there is none."""
        return self._number("SELECT coalesce(max(seq), 0) FROM events")

    def last_time(self) -> str:
        """When the last committed event was made, as events say it; empty if there is none."""
        query = f"SELECT strftime(time, {schema.TIME}) FROM events ORDER BY seq DESC LIMIT 1"
        return next((time for (time,) in self.rows(query)), "")

    def peaks(self) -> list[tuple[int, str]]:
        """Number and time of each event after which the clock was set back."""
        before = "SELECT cause FROM events WHERE kind = ?"
        query = f"SELECT seq, strftime(time, {schema.TIME}) FROM events WHERE seq IN ({before})"
        return [(seq, time) for seq, time in self.rows(query, str(Kind.CLOCK_SET_BACK))]

    def last_epoch(self) -> int:
        """The highest epoch; 0 if there is no event."""
        return self._number("SELECT coalesce(max(epoch), 0) FROM events")

    def heads(self) -> dict[str, str]:
        """The hash of each actor's last event."""
        rows = self.rows("FROM events WHERE seq IN (SELECT max(seq) FROM events GROUP BY actor)")
        return {event.actor: event.hash for event in map(read_event, rows)}

    def runs(self, limit: int = 50, tenant: str | None = None) -> list[RunRow]:
        """The newest runs first; a tenant's, if one is given."""
        newest = (
            f"SELECT run FROM events WHERE kind = '{Kind.RUN_SUBMITTED}' AND tenant = coalesce(?, tenant) "
            "ORDER BY seq DESC LIMIT ?"
        )
        return self._runs(newest, [tenant, limit])

    def open_runs(self) -> list[RunRow]:
        """The runs that have been submitted and have not ended, oldest first."""
        ended = f"SELECT run FROM events WHERE kind = '{Kind.RUN_ENDED}'"
        still = f"SELECT run FROM events WHERE kind = '{Kind.RUN_SUBMITTED}' AND run NOT IN ({ended})"
        return self._runs(still, [])[::-1]

    def begun_by(self, run: str) -> list[str]:
        """The runs whose id is this one's and a step: those that it began, and those that these began, in order."""
        query = f"SELECT run FROM events WHERE kind = '{Kind.RUN_SUBMITTED}' AND starts_with(run, ?) ORDER BY seq"
        return [name for (name,) in self.rows(query, f"{run}-")]

    def count_open(self) -> int:
        """How many runs have been submitted and have not ended."""
        counts = (f"count(*) FILTER (kind = '{kind}')" for kind in (Kind.RUN_SUBMITTED, Kind.RUN_ENDED))
        return self._number(f"SELECT {' - '.join(counts)} FROM events")

    def find_run(self, beginning: str, tenant: str | None = None) -> RunRow:
        """The one run, of a tenant if one is given, whose id begins so. Raises SettingsError if there is none, or more
        than one."""
        # A run that another began is called as that one and its step: it is meant only if the beginning reaches so far.
        query = (
            f"SELECT run FROM events WHERE kind = '{Kind.RUN_SUBMITTED}' AND starts_with(run, ?) "
            "AND (run = ? OR NOT contains(substr(run, len(?) + 1), '-')) AND tenant = coalesce(?, tenant) "
            "ORDER BY run <> ? LIMIT 2"
        )
        found = self._runs(query, [*[beginning] * 3, tenant, beginning]) if beginning else []
        found = [row for row in found if row.run == beginning] or found
        if len(found) != 1:
            what = "several runs begin" if found else "no run begins"
            raise SettingsError(f"{what} with {beginning[:64]!r}", do="`bailiwick runs list` shows them")
        return found[0]

    def starts(self, since: datetime) -> list[tuple[str, str, datetime]]:
        """Queue, tenant and UTC time of each start after a time, oldest first, but of runs that others began."""
        query = (
            f"SELECT decision, tenant, time FROM events WHERE kind = '{Kind.RUN_STARTED}' AND time > ? "
            "AND NOT contains(run, '-') ORDER BY seq"
        )
        rows = self.rows(query, since.astimezone(UTC).replace(tzinfo=None))
        return [(queue, tenant, time.replace(tzinfo=UTC)) for queue, tenant, time in rows]

    def payload(self, id: str) -> Payload:
        """A row of the archive. Raises Shredded if the log says that it was destroyed, IntegrityError if it is not
        there for any other reason."""
        return self.payloads([id])[id]

    def payloads(self, ids: Iterable[str]) -> dict[str, Payload]:
        """Rows of the archive by their ids. Raises as `payload` if one is not there."""
        wanted = list(dict.fromkeys(ids))
        found: dict[str, Payload] = {}
        for first in range(0, len(wanted), TOGETHER):
            places = [place(id) for id in wanted[first : first + TOGETHER]]
            rows = self.rows(f"SELECT {PAYLOAD} FROM payloads WHERE place IN ?", places)
            found.update((row[0], Payload(*row)) for row in rows)
        for id in wanted:
            if id not in found:
                raise self._gone(id)
        return found

    def _gone(self, id: str) -> IntegrityError:
        if said := self.rows("SELECT max(event) FROM tombstones WHERE id = ?", id)[0][0]:
            return Shredded("the content was destroyed", f"event {said} says so")
        return IntegrityError(f"payload {id} is missing", self._where)

    def checkpoint(self, covering: int = 0) -> tuple[int, str] | None:
        """Size and note of the newest checkpoint, if it covers that many events."""
        found = self.rows("SELECT size, note FROM checkpoints WHERE size >= ? ORDER BY size DESC LIMIT 1", covering)
        return found[0] if found else None

    def first_hash(self) -> str:
        """The hash of the first event, computed from its bytes; empty if there is none."""
        found = self.event(1)
        return found.hash if found else ""

    def _runs(self, which: str, values: list[object]) -> list[RunRow]:
        events = f"(SELECT * FROM events WHERE run IN ({which}))"
        query = f"SELECT {_RUN_COLUMNS} FROM ({schema.RUNS.format(events=events)}) ORDER BY first_seq DESC"
        return [RunRow(*row) for row in self.rows(query, *values)]

    def _number(self, query: str) -> int:
        return int(self.rows(query)[0][0])


def _nothing() -> None:
    """There is nothing to wait for."""


def read_event(row: Sequence[Any]) -> Event:
    """The event in a row of the table. Raises IntegrityError if it is none, or its hash is not the one in the row."""
    try:
        event = schema.event(row)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise IntegrityError(f"event {row[_SEQ]} is not an event that this version can read", do=DAMAGE) from None
    if event.hash != row[_HASH]:
        raise IntegrityError(f"event {event.seq} is not what was recorded", do=DAMAGE)
    return event

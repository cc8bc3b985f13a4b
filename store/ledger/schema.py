"""The tables. Every column of `events` but the last is a field of the Event; the last, `hash`, is the digest of the
canonical bytes that follow from them.

The bytes are stored nowhere: what a column says is what is hashed. Nothing here may ever change a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from operator import itemgetter

import duckdb

from store.ledger.format import COLUMNS, FORMAT, TABLE, check_format, format_of
from store.ledger.format import tables as _tables
from store.ledger.sealer import NAME_LIMIT, are_names
from store.records.canonical import EXACT, Json, canonical, parse
from store.records.errors import IntegrityError
from store.records.event import NAMES, Event, values
from store.records.kinds import Kind
from store.records.labels import Labels, written

SCHEMAS = frozenset({1})
"""The schema numbers of events that this version can verify and replay."""

FIELDS = NAMES
_LABELS = FIELDS.index("labels")

_TYPES = {int: "BIGINT", str: "VARCHAR"}

TIME = "'%Y-%m-%dT%H:%M:%S.%fZ'"
"""How DuckDB writes a time as an event does."""


def _kind_of(name: str) -> str:
    if name == "time":
        return "TIMESTAMP"  # UTC; a TIMESTAMPTZ could only be fetched with pytz
    if name == "labels":
        return "VARCHAR"  # their canonical JSON
    annotation = next(field.type for field in fields(Event) if field.name == name)
    if not isinstance(annotation, type) or annotation not in _TYPES:
        raise TypeError(f"no column type for the field {name!r}")
    return _TYPES[annotation]


EVENT_COLUMNS = {name: _kind_of(name) for name in FIELDS} | {"hash": "VARCHAR"}
PAYLOAD_COLUMNS = {
    "id": "VARCHAR",
    "tenant": "VARCHAR",
    "key": "VARCHAR",
    "size": "BIGINT",
    "data": "BLOB",
    "place": "BIGINT",
}
TOMBSTONE_COLUMNS = {"id": "VARCHAR", "event": "BIGINT"}
TILE_COLUMNS = {"level": "BIGINT", "number": "BIGINT", "root": "BLOB", "data": "BLOB"}
CHECKPOINT_COLUMNS = {"size": "BIGINT", "time": "TIMESTAMP", "note": "VARCHAR"}

_TABLES = {
    "events": (EVENT_COLUMNS, ("seq",)),
    "payloads": (PAYLOAD_COLUMNS, ()),
    "tiles": (TILE_COLUMNS, ("level", "number")),
    "checkpoints": (CHECKPOINT_COLUMNS, ("size",)),
    "tombstones": (TOMBSTONE_COLUMNS, ("id", "event")),
}
"""`tombstones` names each payload that is no more, and the event that says so and is signed over the list."""
_INDEX = "CREATE INDEX payloads_by_place ON payloads (place)"
"""Over the first 64 bits of the ids: over whole ids it takes three times the room."""
_NULLABLE = "labels"
"""The only column that may be empty."""
CONTENT = {table: tuple(columns) for table, (columns, _) in _TABLES.items()}
"""The tables that a ledger's content is in, and their columns."""
_ALL = {**_TABLES, TABLE: (COLUMNS, ("number",))}

_COLUMNS = """
    SELECT column_name, data_type, column_default FROM system.main.duckdb_columns()
    WHERE table_name = ? ORDER BY column_index
"""
_CONSTRAINTS = """
    SELECT constraint_type, constraint_column_names FROM system.main.duckdb_constraints()
    WHERE table_name = ? AND database_name = current_database()
"""
_OTHERS = """
    SELECT 'view', view_name FROM system.main.duckdb_views() WHERE NOT internal
    UNION ALL SELECT 'function', function_name FROM system.main.duckdb_functions() WHERE NOT internal
    UNION ALL SELECT 'schema', schema_name FROM system.main.duckdb_schemas()
        WHERE NOT internal AND schema_name <> 'main'
    UNION ALL SELECT 'type', type_name FROM system.main.duckdb_types() WHERE NOT internal
    UNION ALL SELECT 'sequence', sequence_name FROM system.main.duckdb_sequences()
    UNION ALL SELECT 'table', table_name FROM system.main.duckdb_tables()
        WHERE NOT internal AND (schema_name <> 'main' OR table_name NOT IN (SELECT unnest(?)))
"""
"""What the database holds beside the tables."""

PROJECTED = ", ".join(f"strftime(time, {TIME}) AS time" if name == "time" else f'"{name}"' for name in FIELDS)
"""The select list that gives the fields as an event's JSON has them, with the labels as canonical text."""


def _written(name: str) -> str:
    """SQL that gives the value of a column as canonical JSON has it."""
    if name == "labels":
        return "coalesce(labels, 'null')"
    value = f"strftime(time, {TIME})" if name == "time" else f'"{name}"'
    return f"{value}::VARCHAR" if EVENT_COLUMNS[name] == "BIGINT" else f"to_json({value})::VARCHAR"


_PAIRS = ", ',', ".join(f"'\"{name}\":', {_written(name)}" for name in sorted(FIELDS))
_TEXTS = ", ".join(f'"{name}"' for name, kind in EVENT_COLUMNS.items() if kind == "VARCHAR")
BYTES = f"CASE WHEN NOT regexp_matches(concat({_TEXTS}), '[\\x00-\\x1F]') THEN encode(concat('{{', {_PAIRS}, '}}')) END"
"""SQL that gives an event's canonical bytes. NULL for a row with a control character, which no name has: DuckDB writes
it in another way than RFC 8785. For many rows, it takes a fifth of what Python takes; for one, three times that."""

_MOVES = (str(Kind.RUN_STARTED), str(Kind.RUN_RESUMED), str(Kind.RUN_PAUSED))
_ASKED = (str(Kind.APPROVAL_REQUESTED), str(Kind.INPUT_REQUESTED))
_SETTLED = tuple(
    map(
        str,
        (Kind.APPROVAL_ANSWERED, Kind.GRANT_USED, Kind.INPUT_ANSWERED, Kind.STEP_COMPLETED, Kind.STEP_FAILED),
    )
)
_LIVES = (str(Kind.RUN_STARTED), str(Kind.RUN_RESUMED), str(Kind.RUN_PARKED))

RUNS = f"""
    SELECT run,
        any_value(tenant) FILTER (kind = '{Kind.RUN_SUBMITTED}') AS tenant,
        any_value(principal) FILTER (kind = '{Kind.RUN_SUBMITTED}') AS principal,
        coalesce(arg_max(workflow, seq) FILTER (workflow <> ''), '') AS workflow,
        coalesce(arg_max(workflow_version, seq) FILTER (workflow <> ''), 0) AS workflow_version,
        CASE WHEN count(*) FILTER (kind = '{Kind.RUN_ENDED}') > 0
                THEN any_value(decision) FILTER (kind = '{Kind.RUN_ENDED}')
            WHEN arg_max(kind, seq) FILTER (kind IN {_MOVES}) = '{Kind.RUN_PAUSED}' THEN 'paused'
            WHEN arg_max(kind, seq) FILTER (kind IN {_LIVES}) = '{Kind.RUN_PARKED}' THEN 'parked'
            WHEN NOT list_has_all(coalesce(list(step) FILTER (kind IN {_SETTLED}), []),
                coalesce(list(step) FILTER (kind IN {_ASKED}), [])) THEN 'waiting'
            WHEN count(*) FILTER (kind = '{Kind.WAIT_BEGUN}' AND seq = newest) > 0 THEN 'waiting'
            WHEN count(*) FILTER (kind = '{Kind.RUN_STARTED}') = 0 THEN 'queued'
            ELSE 'running' END AS status,
        coalesce(any_value(decision) FILTER (kind = '{Kind.RUN_SUBMITTED}'), '') AS queue,
        count(*) FILTER (kind = '{Kind.RUN_STARTED}') > 0 AS begun,
        min(time) AS started,
        max(time) FILTER (kind = '{Kind.RUN_ENDED}') AS ended,
        count(*) AS events,
        count(*) FILTER (model_digest <> '' AND tokens > 0) AS model_calls,
        sum(tokens)::BIGINT AS tokens,
        sum(device_ms)::BIGINT AS device_ms,
        sum(cost_micros)::BIGINT AS cost_micros,
        min(seq) AS first_seq,
        max(seq) AS last_seq,
        max(epoch) AS epoch,
        coalesce(any_value(payload) FILTER (kind = '{Kind.RUN_SUBMITTED}'), '') AS submission,
        coalesce(any_value(payload) FILTER (kind = '{Kind.RUN_ENDED}'),
            CASE WHEN arg_max(kind, seq) FILTER (kind IN {_LIVES}) = '{Kind.RUN_PARKED}'
                THEN arg_max(payload, seq) FILTER (kind = '{Kind.RUN_PARKED}') END, '') AS outcome
    FROM (SELECT *, max(seq) OVER (PARTITION BY run) AS newest FROM {{events}} WHERE run <> '')
    GROUP BY run HAVING count(*) FILTER (kind = '{Kind.RUN_SUBMITTED}') > 0
"""
"""One row a run, over the relation put in for `{events}`."""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables in an empty database; one that has any is left as it is."""
    if _tables(connection):
        return
    connection.begin()
    for table, (columns, key) in _ALL.items():
        body = ", ".join(f'"{name}" {kind}{"" if name == _NULLABLE else " NOT NULL"}' for name, kind in columns.items())
        keys = ", ".join(f'"{name}"' for name in key)
        connection.execute(f"CREATE TABLE {table} ({body}{f', PRIMARY KEY ({keys})' if keys else ''})")
    connection.execute(_INDEX)
    connection.execute(f"INSERT INTO {TABLE} VALUES (?)", [FORMAT])
    connection.commit()


def tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Those of ours that are there, but for the one that says the format."""
    there = _tables(connection)
    return [table for table in _TABLES if table in there]


def check(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    """Raise SettingsError if the database has another format, IntegrityError unless the tables are those that this
    version writes, and nothing else is there."""
    check_format(format_of(connection, where), where)
    only_ours(connection, where)
    for table, (columns, key) in _ALL.items():
        found = connection.execute(_COLUMNS, [table]).fetchall()
        if [row[:2] for row in found] != list(columns.items()) or any(default for *_, default in found):
            raise _foreign(table, where)
        wanted: list[tuple[str, tuple[str, ...]]] = [("NOT NULL", (name,)) for name in columns if name != _NULLABLE]
        wanted += [("PRIMARY KEY", key)] if key else []
        there = connection.execute(_CONSTRAINTS, [table]).fetchall()
        if sorted((kind, tuple(names)) for kind, names in there) != sorted(wanted):
            raise _foreign(table, where)


def only_ours(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    """Raise IntegrityError if there is anything but our tables: a view or a macro can make a query mean something
    else."""
    for what, name in connection.execute(_OTHERS, [list(_ALL)]).fetchall():
        raise IntegrityError(f"the {what} {name!r} in the ledger is not ours", where, "restore a backup")


def _foreign(table: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"the table {table!r} of the ledger is not one that this version writes",
        where,
        "use the version of Bailiwick that wrote it, or another data folder",
    )


def row(event: Event, digest: str) -> tuple[Json, ...]:
    """The row of an event, in the order of EVENT_COLUMNS. `digest` is the SHA-256 of its canonical bytes."""
    each = values(event)
    labels = written(event.labels) if event.labels else None
    return (*each[:_LABELS], labels, *each[_LABELS + 1 :], digest)


def event(row: Sequence[Json]) -> Event:
    """The event in a row, whose time is a datetime in UTC without a zone, or a text as in an event.

    Raises ValueError, TypeError or KeyError if it is none.
    """
    if not within(row):
        raise ValueError("these are no names and numbers of an event")
    body: dict[str, Json] = dict(zip(FIELDS, row, strict=False))
    if isinstance(body["time"], datetime):
        body["time"] = f"{body['time'].isoformat(timespec='microseconds')}Z"
    body["labels"] = None if body["labels"] is None else labels(body["labels"])
    return Event(**body)


def within(row: Sequence[Json]) -> bool:
    """Whether texts and numbers of a row that lacks none are such as the sealer lets pass."""
    numbers, texts = _numbers(row), _texts(row)
    if min(numbers) < 0 or max(numbers) > EXACT:
        return False
    return max(map(len, texts)) <= NAME_LIMIT and "".join(texts).isprintable()


def _columns(kind: str) -> Callable[[Sequence[Json]], tuple[Json, ...]]:
    """Takes the fields of a type, labels apart, out of a row."""
    names = enumerate(FIELDS)
    return itemgetter(*(at for at, name in names if EVENT_COLUMNS[name] == kind and at != _LABELS))


_numbers, _texts = _columns("BIGINT"), _columns("VARCHAR")


@lru_cache(1024)
def labels(text: str) -> Labels:
    """The labels in a column. Raises ValueError, TypeError or KeyError if they are none, or not written canonically."""
    body = parse(text.encode())
    found = Labels.parse(body)
    if canonical(found.json()) != text.encode():
        raise ValueError("these labels are not canonical")
    if not are_names(found):
        raise ValueError("these labels hold no names")
    return found

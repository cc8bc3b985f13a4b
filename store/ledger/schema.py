"""The tables. Every column of `events` but the last two is a field of the Event, projected for queries.

The truth is the column `bytes`: the canonical bytes, whose digest is `hash`. Nothing here may ever change a row.
"""

from dataclasses import fields
from functools import lru_cache

import duckdb

from store.records.canonical import Json, canonical_names
from store.records.errors import IntegrityError
from store.records.event import NAMES, Event, values
from store.records.kinds import Kind
from store.records.labels import Labels

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


EVENT_COLUMNS = {name: _kind_of(name) for name in FIELDS} | {"hash": "VARCHAR", "bytes": "BLOB"}
PAYLOAD_COLUMNS = {"id": "VARCHAR", "tenant": "VARCHAR", "key": "VARCHAR", "size": "BIGINT", "data": "BLOB"}
TOMBSTONE_COLUMNS = {"id": "VARCHAR", "event": "BIGINT"}
TILE_COLUMNS = {"level": "BIGINT", "number": "BIGINT", "root": "BLOB", "data": "BLOB"}
CHECKPOINT_COLUMNS = {"size": "BIGINT", "time": "TIMESTAMP", "note": "VARCHAR"}

_TABLES = {
    "events": (EVENT_COLUMNS, ("seq",)),
    "payloads": (PAYLOAD_COLUMNS, ("id",)),
    "tiles": (TILE_COLUMNS, ("level", "number")),
    "checkpoints": (CHECKPOINT_COLUMNS, ("size",)),
    "tombstones": (TOMBSTONE_COLUMNS, ("id", "event")),
}
"""`tombstones` names each payload that is no more, and the event that says so and is signed over the list."""
_LATER = ("tiles", "checkpoints", "tombstones")
"""Tables that earlier versions did not write."""

_COLUMNS = """
    SELECT column_name, data_type, column_default FROM system.main.duckdb_columns()
    WHERE table_name = ? ORDER BY column_index
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

_MOVES = (str(Kind.RUN_STARTED), str(Kind.RUN_RESUMED), str(Kind.RUN_PAUSED))
_ASKED = (str(Kind.APPROVAL_REQUESTED), str(Kind.INPUT_REQUESTED))
_SETTLED = tuple(map(str, (Kind.APPROVAL_ANSWERED, Kind.INPUT_ANSWERED, Kind.STEP_COMPLETED, Kind.STEP_FAILED)))
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


def prepare(connection: duckdb.DuckDBPyConnection, where: str) -> bool:
    """Make the tables that are not there, in an empty database or in one that an earlier version wrote.

    True if that version signed nothing. Raises IntegrityError if there are other tables.
    """
    there = _tables(connection)
    new = [table for table in _TABLES if table not in there]
    if there and not set(new) <= set(_LATER):
        raise _foreign(new[0], where)
    connection.begin()
    for table in new:
        columns, key = _TABLES[table]
        body = ", ".join(
            f'"{name}" {kind}' + (" NOT NULL" if name != "labels" else "") for name, kind in columns.items()
        )
        keys = ", ".join(f'"{name}"' for name in key)
        connection.execute(f"CREATE TABLE {table} ({body}, PRIMARY KEY ({keys}))")
    connection.commit()
    return bool(there) and "checkpoints" in new


def plain(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether this is a ledger of a version that did not encrypt payloads."""
    return _columns(connection, "payloads") == PAYLOAD_COLUMNS.keys() - {"key"}


def tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Those of ours that are there."""
    there = _tables(connection)
    return [table for table in _TABLES if table in there]


def check(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    """Raise IntegrityError unless the tables are those that this version writes, and nothing else is there."""
    only_ours(connection, where)
    there = _tables(connection)
    if plain(connection) or (there and not there >= set(_LATER)):
        raise IntegrityError("an earlier version wrote the ledger", where, "start the runtime once: it converts it")
    for table, (columns, _) in _TABLES.items():
        found = connection.execute(_COLUMNS, [table]).fetchall()
        if {name: kind for name, kind, _ in found} != columns or any(default for *_, default in found):
            raise _foreign(table, where)


def only_ours(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    """Raise IntegrityError if there is anything but our tables: a view or a macro can make a query mean something
    else."""
    for what, name in connection.execute(_OTHERS, [list(_TABLES)]).fetchall():
        raise IntegrityError(f"the {what} {name!r} in the ledger is not ours", where, "restore a backup")


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    query = "SELECT column_name FROM duckdb_columns() WHERE table_name = ?"
    return {row[0] for row in connection.execute(query, [table]).fetchall()}


def _tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}


def _foreign(table: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"the table {table!r} of the ledger is not one that this version writes",
        where,
        "use the version of Bailiwick that wrote it, or another data folder",
    )


def row(event: Event, data: bytes, digest: str) -> tuple[Json, ...]:
    """The row of an event, in the order of EVENT_COLUMNS. `data` and `digest` are its bytes and their SHA-256."""
    each = values(event)
    labels = _known(event.labels) if event.labels else None
    return (*each[:_LABELS], labels, *each[_LABELS + 1 :], digest, data)


@lru_cache(1024)
def _known(labels: Labels) -> str | None:
    """As `labels_text`: most events of a run have the same."""
    return labels_text(labels.json())


def labels_text(labels: Json) -> str | None:
    """The column text of labels in their JSON form."""
    return None if labels is None else canonical_names(labels).decode()

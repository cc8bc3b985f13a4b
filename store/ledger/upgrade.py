"""The upgrade of a ledger whose payloads are not encrypted: its database is written anew, and the old file destroyed.

What DuckDB deletes stays in its file until something else is written there, so encrypting the rows in place would leave
them readable. The events are copied as they are; a crash leaves the old file or the new one.
"""

import os
from pathlib import Path

import duckdb

from store.keys.files import destroy, sync_folder
from store.keys.scope import Owner
from store.ledger import schema
from store.ledger.archive import Archive

CLASS = "standard"
PAGE = 500
"""Payloads in memory at a time."""

_OWNERS = f"""
    SELECT p.id, p.tenant, p.size, p.data, coalesce(e.principal, '') AS principal, coalesce(e.retention, '{CLASS}')
    FROM earlier.payloads p LEFT JOIN (
        SELECT payload, max(retention) AS retention,
            CASE WHEN count(DISTINCT principal) = 1 THEN max(principal) ELSE '' END AS principal
        FROM earlier.events WHERE payload <> '' GROUP BY payload
    ) e ON e.payload = p.id
"""
"""Payloads, and whose they are: of nobody but the tenant, if several said the same."""


def encrypt(path: Path, archive: Archive) -> None:
    """Write the closed database at `path` anew, its payloads encrypted. Raises duckdb.Error, OSError."""
    new = path.with_suffix(".new")
    for left in (new, new.with_suffix(".new.wal")):
        left.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("CHECKPOINT")  # so that nothing of it is in a log of its own
    with duckdb.connect(str(new)) as connection:
        schema.prepare(connection, str(path))
        connection.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS earlier (READ_ONLY)")
        _copy(connection)
        _encrypted(connection, archive)
        connection.execute("DETACH earlier")
        connection.execute("CHECKPOINT")
    _take_over(new, path)


def finish(path: Path) -> None:
    """Destroy what a crash left of the old file."""
    destroy(path.with_suffix(".old"), keep=path)


def _copy(connection: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'earlier'"
    there = {row[0] for row in connection.execute(query).fetchall()} - {"payloads"}
    for table in there:
        connection.execute(f"INSERT INTO {table} BY NAME FROM earlier.{table}")


def _encrypted(connection: duckdb.DuckDBPyConnection, archive: Archive) -> None:
    found = connection.cursor().execute(_OWNERS)
    while page := found.fetchmany(PAGE):
        rows = [
            archive.encrypt(Owner(tenant, principal, retention), id, size, data).row
            for id, tenant, size, data, principal, retention in page
        ]
        connection.executemany("INSERT INTO payloads VALUES (?, ?, ?, ?, ?)", rows)


def _take_over(new: Path, path: Path) -> None:
    descriptor = os.open(new, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.link(path, path.with_suffix(".old"))
    new.replace(path)
    sync_folder(path.parent)
    finish(path)

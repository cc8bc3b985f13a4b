"""The upgrade of a ledger whose payloads are not encrypted: its database is written anew, and the old file destroyed.

What DuckDB deletes stays in its file until something else is written there, so encrypting the rows in place would leave
them readable. The events are copied as they are; a crash leaves the old file or the new one.
"""

import hmac
import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import zstandard

from store.keys.files import destroy, sync_folder
from store.keys.scope import Owner
from store.ledger import schema
from store.ledger.archive import LIMIT, Archive

Connect = Callable[[Path, Path], duckdb.DuckDBPyConnection]
"""Opens a new database, from which another can be reached."""
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


def encrypt(path: Path, archive: Archive, named: bytes, connect: Connect) -> None:
    """Write the closed database at `path`, which has no log of its own, anew; its payloads, which the key `named` has
    named, encrypted. Raises duckdb.Error, OSError."""
    new = path.with_suffix(".new")
    for left in (new, new.with_suffix(".new.wal")):
        left.unlink(missing_ok=True)
    with connect(new, path) as connection:
        schema.prepare(connection, str(path))
        connection.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS earlier (READ_ONLY)")
        _copy(connection)
        _encrypted(connection, archive, named)
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


def _encrypted(connection: duckdb.DuckDBPyConnection, archive: Archive, named: bytes) -> None:
    found = connection.cursor().execute(_OWNERS)
    while page := found.fetchmany(PAGE):
        rows = [
            archive.encrypt(
                Owner(tenant, principal, retention), id, size, data, damaged=_name(named, tenant, size, data) != id
            ).row
            for id, tenant, size, data, principal, retention in page
        ]
        connection.executemany("INSERT INTO payloads VALUES (?, ?, ?, ?, ?)", rows)


def _name(key: bytes, tenant: str, size: int, compressed: bytes) -> str:
    """The id that version 0.1 gave to this content; empty if it is damaged."""
    try:
        if size > LIMIT or zstandard.frame_content_size(compressed) != size:
            return ""
        data = zstandard.ZstdDecompressor().decompress(compressed)
    except zstandard.ZstdError:
        return ""
    return hmac.digest(key, tenant.encode() + b"\0" + data, "sha256").hex()


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

"""The steps from each format to the next: a database is written anew, in tables of the later format, from the earlier.

Never in place: what DuckDB deletes stays in its file until something else is written there, and a crash in the middle
must leave what was there. A step knows the tables that it writes, whatever later formats have; the last one takes those
of `schema`, which are to be written down here once there is a later one.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import zstandard

from store.keys.files import make_key, read_key
from store.keys.keystore import Keystore
from store.keys.scope import Owner
from store.ledger import schema
from store.ledger.archive import LIMIT, Archive
from store.ledger.database import EARLIER, connect, connect_two
from store.ledger.format import FORMAT, check_format, format_of

CLASS = "standard"
PAGE = 500
"""Payloads in memory at a time."""
SIGNING = "checkpoint.key"

_OWNERS = f"""
    SELECT p.id, p.tenant, p.size, p.data, coalesce(e.principal, '') AS principal, coalesce(e.retention, '{CLASS}')
    FROM earlier.payloads p LEFT JOIN (
        SELECT payload, max(retention) AS retention,
            CASE WHEN count(DISTINCT principal) = 1 THEN max(principal) ELSE '' END AS principal
        FROM earlier.events WHERE payload <> '' GROUP BY payload
    ) e ON e.payload = p.id
"""
"""Payloads of format 1, and whose they are: of nobody but the tenant, if several said the same."""

_HEAD = "TRY_CAST('0x' || substr(id, 1, 16) AS UBIGINT)::HUGEINT"
_PLACE = f"coalesce({_HEAD} - CASE WHEN {_HEAD} >= {2**63} THEN {2**64} ELSE 0 END, 0)::BIGINT"
"""As `archive.place`: the first 64 bits of an id."""

FORMAT_2 = (
    """CREATE TABLE events (
        kind VARCHAR NOT NULL, tenant VARCHAR NOT NULL, actor VARCHAR NOT NULL, actor_version VARCHAR NOT NULL,
        unit VARCHAR NOT NULL, run VARCHAR NOT NULL, step VARCHAR NOT NULL, attempt BIGINT NOT NULL,
        cause BIGINT NOT NULL, principal VARCHAR NOT NULL, workflow VARCHAR NOT NULL, workflow_version BIGINT NOT NULL,
        fingerprint VARCHAR NOT NULL, tool VARCHAR NOT NULL, tool_digest VARCHAR NOT NULL,
        model_digest VARCHAR NOT NULL, prompt_digest VARCHAR NOT NULL, grammar_digest VARCHAR NOT NULL,
        policy_digest VARCHAR NOT NULL, decision VARCHAR NOT NULL, labels VARCHAR, tokens BIGINT NOT NULL,
        device_ms BIGINT NOT NULL, cost_micros BIGINT NOT NULL, retention VARCHAR NOT NULL, seq BIGINT PRIMARY KEY,
        time TIMESTAMP NOT NULL, mono_ns BIGINT NOT NULL, epoch BIGINT NOT NULL, payload VARCHAR NOT NULL,
        prev VARCHAR NOT NULL, schema BIGINT NOT NULL, hash VARCHAR NOT NULL, bytes BLOB NOT NULL
    )""",
    "CREATE TABLE payloads (id VARCHAR PRIMARY KEY, tenant VARCHAR NOT NULL, key VARCHAR NOT NULL, "
    "size BIGINT NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE tiles (level BIGINT, number BIGINT, root BLOB NOT NULL, data BLOB NOT NULL, "
    "PRIMARY KEY (level, number))",
    "CREATE TABLE checkpoints (size BIGINT PRIMARY KEY, time TIMESTAMP NOT NULL, note VARCHAR NOT NULL)",
    "CREATE TABLE tombstones (id VARCHAR, event BIGINT, PRIMARY KEY (id, event))",
)
"""The tables of format 2."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step does, in words, and how: `write` makes and fills the tables of an empty database, from those of the
    schema `earlier`, which is attached for reading; with the keys of the data folder. It may raise duckdb.Error,
    OSError, IntegrityError, and be done again after a crash."""

    does: str
    write: Callable[[duckdb.DuckDBPyConnection, Keystore], None]


def convert(path: Path, keystore: Keystore, aside: Path) -> Path:
    """Write the closed database at `path`, which has no log of its own, anew in the folder `aside`, step by step, until
    it has today's format. The new file, or `path` if it has that; the one at `path` is as it was. Raises as the steps
    do, and SettingsError if a newer version wrote it."""
    original = path
    with connect(path, True) as connection:
        number = format_of(connection, str(path))
        check_format(max(number, FORMAT), str(path))
        schema.only_ours(connection, str(path))
    for to in range(number + 1, FORMAT + 1):
        new = aside / f"format-{to}.duckdb"
        with connect_two(new, path) as connection:
            connection.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS earlier (READ_ONLY)")
            STEPS[to].write(connection, keystore)
            connection.execute("DETACH earlier")
            connection.execute("CHECKPOINT")
        if path != original:
            path.unlink()
        path = new
    return path


def encrypt(new: duckdb.DuckDBPyConnection, keystore: Keystore) -> None:
    """From 1 to 2: what was said is encrypted, under keys of whoever said it. Content that is damaged stays so."""
    named, archive = read_key(keystore.folder / EARLIER), Archive(keystore)
    for statement in FORMAT_2:
        new.execute(statement)
    query = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'earlier'"
    there = {row[0] for row in new.execute(query).fetchall()}
    for table in sorted(there - {"payloads"}):
        new.execute(f"INSERT INTO {table} BY NAME FROM earlier.{table}")
    found = new.cursor().execute(_OWNERS)
    while page := found.fetchmany(PAGE):
        for id, tenant, size, data, principal, retention in page:
            damaged = _name(named, tenant, size, data) != id
            each = archive.encrypt(Owner(tenant, principal, retention), id, size, data, damaged=damaged)
            row = (each.id, each.tenant, each.key, each.size, each.data)
            new.execute("INSERT INTO payloads VALUES (?, ?, ?, ?, ?)", row)
    if "checkpoints" not in there and not (keystore.folder / SIGNING).exists():
        make_key(keystore.folder / SIGNING)  # it signed nothing until then


def once(new: duckdb.DuckDBPyConnection, _: Keystore) -> None:
    """From 2 to 3: events are stored once, for their bytes follow from their columns; payloads are found by a number;
    and the database says its format."""
    schema.prepare(new)
    for table, columns in schema.CONTENT.items():
        names = [f'"{name}"' for name in columns if name != "place"]
        place = f", {_PLACE} AS place" if table == "payloads" else ""
        new.execute(f"INSERT INTO {table} BY NAME SELECT {', '.join(names)}{place} FROM earlier.{table}")


STEPS: Mapping[int, Step] = {
    2: Step("what was said is encrypted", encrypt),
    3: Step("events are stored once, and the database says its format", once),
}
"""By the format that each step leads to, from the one before."""


def _name(key: bytes, tenant: str, size: int, compressed: bytes) -> str:
    """The id that format 1 gave to this content; empty if it is damaged."""
    try:
        if size > LIMIT or zstandard.frame_content_size(compressed) != size:
            return ""
        data = zstandard.ZstdDecompressor().decompress(compressed)
    except zstandard.ZstdError:
        return ""
    return hmac.digest(key, tenant.encode() + b"\0" + data, "sha256").hex()

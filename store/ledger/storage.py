"""What takes space: the database by table, content by whose it is, the files beside it, and how fast they grow.

It reads, and changes nothing. Sizes are bytes on disk; what others write meanwhile may be missing.
"""

import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from store.keys.memos import MEMORY
from store.ledger import journal, schema
from store.ledger.database import DATABASE, KEYS
from store.ledger.ledger import Ledger
from store.ledger.needs import tenants

WEEK = timedelta(days=7)
DAY = timedelta(days=1)
UNKNOWN = "?"
"""The class of content whose key is not in the keystore."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Sizes in bytes. `tables` maps a table to its rows and what it takes in the database's blocks, as of the
    database's own last checkpoint: what is newer is in the write-ahead log, `files["log"]`, and indexes are not
    counted. `content` maps tenant and retention class to payloads and their encrypted bytes, `memory` to what agents
    remember and the bytes of its texts, tags and vectors: its indexes and earlier versions are in `files["memory"]`.

    `free` is what this user may still write on the file system of the ledger. `events_per_day` is the mean of the last
    seven days, or of those since the first event, one at least; `bytes_per_day` is that times what the database takes
    for each event. `full_in_days` is when the disk is full at that rate; None if the ledger does not grow.
    """

    tables: dict[str, tuple[int, int]]
    content: dict[tuple[str, str], tuple[int, int]]
    memory: dict[tuple[str, str], tuple[int, int]]
    files: dict[str, int]
    free: int
    events_per_day: float
    bytes_per_day: float
    full_in_days: float | None


def measure(ledger: Ledger) -> Storage:
    """What a ledger and what lies beside it take. Raises LedgerFailed, OSError if a folder cannot be read."""
    tables, files = _tables(ledger), _files(ledger)
    free = shutil.disk_usage(ledger.folder).free
    per_day = _events_per_day(ledger, datetime.now(UTC).replace(tzinfo=None))
    each = (files["database"] + files["log"]) / max(1, tables["events"][0])
    grows = per_day * each
    return Storage(
        tables, _content(ledger), _memory(ledger), files, free, per_day, grows, free / grows if grows else None
    )


def _tables(ledger: Ledger) -> dict[str, tuple[int, int]]:
    with ledger.reader.cursor() as cursor:
        block = cursor.execute("SELECT max(block_size) FROM pragma_database_size()").fetchall()[0][0]
        found = {}
        for table in schema.tables(cursor):
            rows = cursor.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
            query = f"SELECT count(DISTINCT block_id) FROM pragma_storage_info('{table}') WHERE persistent"
            found[table] = rows, cursor.execute(query).fetchall()[0][0] * block
    return found


def _content(ledger: Ledger) -> dict[tuple[str, str], tuple[int, int]]:
    query = "SELECT tenant, key, count(*), sum(octet_length(data))::BIGINT FROM payloads GROUP BY ALL ORDER BY ALL"
    found: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    records = ledger.keystore.records
    for tenant, key, count, size in ledger.reader.rows(query):
        retention = records[key].owner.retention if key in records else UNKNOWN
        before = found[tenant, retention]
        found[tenant, retention] = before[0] + count, before[1] + size
    return dict(found)


def _memory(ledger: Ledger) -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    if ledger.memos:
        for memo in (each for tenant in tenants(ledger.reader) for each in ledger.memos.memos(tenant)):
            count, size = found[memo.owner.tenant, memo.owner.retention]
            found[memo.owner.tenant, memo.owner.retention] = count + 1, size + memo.size
    return dict(found)


def _files(ledger: Ledger) -> dict[str, int]:
    database = ledger.folder / DATABASE
    return {
        "database": _size(database),
        "log": _size(database.with_name(f"{DATABASE}.wal")),
        "journal": sum(_size(ledger.folder / name) for name in journal.NAMES),
        "keys": _size(ledger.folder / KEYS),
        "memory": _size(ledger.folder / MEMORY),
        "models": _size(ledger.folder / "models"),
        "replaced": sum(map(_size, ledger.folder.glob("replaced-*"))),
        "mirror": _size(ledger.mirror.folder) if ledger.mirror else 0,
    }


def _size(path: Path) -> int:
    """Of a file, or of all files below a folder; 0 if there is nothing. Links are not followed."""
    if path.is_file() or not path.exists():
        return path.stat().st_size if path.exists() else 0
    return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())


def _events_per_day(ledger: Ledger, now: datetime) -> float:
    query = "SELECT count(*) FILTER (time > ?), min(time) FROM events"
    [(count, first)] = ledger.reader.rows(query, now - WEEK)
    days = min(WEEK, max(DAY, now - first)) / DAY if count else 1.0
    return float(count / days)

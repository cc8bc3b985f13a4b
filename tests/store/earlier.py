"""Ledgers as earlier versions wrote them.

Format 1 is `ledger-0.1.tar.zst`, written by version 0.1: five events, what ada and bob said in the tenant acme, one
thing that both said, and what ada said in another tenant. Format 2 is made of one of today's, by what it was.
"""

import io
import tarfile
from pathlib import Path

import duckdb
import zstandard

from store.ledger import schema
from store.ledger.ledger import Ledger
from store.ledger.reader import EVERYTHING
from store.ledger.steps import FORMAT_2

EARLIER = Path(__file__).with_name("ledger-0.1.tar.zst")


def format_1(folder: Path) -> Path:
    """A ledger of version 0.1 in a folder `data` that is not there yet."""
    packed = zstandard.ZstdDecompressor().decompress(EARLIER.read_bytes(), max_output_size=2**26)
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        files.extractall(folder.parent, filter="data")
    for each in (folder, folder / "keys"):
        each.chmod(0o700)
    (folder / "ledger.lock").touch(mode=0o600)
    return folder


def format_2(folder: Path) -> Path:
    """The closed ledger in a folder, as it would have been in format 2."""
    with Ledger.open(folder, read_only=True) as ledger:
        events = ledger.events(limit=EVERYTHING)
    rows = [(*schema.row(each, each.hash), each.canonical()) for each in events]
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute("DROP TABLE format")
        for table, statement in zip(("events", "payloads"), FORMAT_2, strict=False):
            connection.execute(f"CREATE TEMP TABLE kept AS FROM {table}")
            connection.execute(f"DROP TABLE {table}")
            connection.execute(statement)
            if table == "payloads":
                connection.execute("INSERT INTO payloads SELECT id, tenant, key, size, data FROM kept")
            connection.execute("DROP TABLE kept")
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO events VALUES ({marks})", rows)
    return folder

"""A census of a ledger's events: what must be the same before and after its database was written anew.

It is taken from the canonical bytes of every event, in whatever format they are kept, and never from the stored tree.
It changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from store.keys.files import read_key
from store.ledger import schema
from store.ledger.database import KEYS, connect
from store.ledger.format import format_of
from store.ledger.notary import origin, public_key
from store.ledger.reader import Reader
from store.records.canonical import sha256
from store.records.errors import IntegrityError
from store.verify import Invalid, Key, Peaks, leaf_hash, open_checkpoint

PAGE = 2000
"""Events in memory at a time."""
SIGNED_SINCE = 2
"""The format from which on every ledger has checkpoints."""


@dataclass(frozen=True, slots=True)
class Census:
    """How many events there are, the hash of the last one, in hex, and the root over all of them."""

    events: int
    last: str
    root: bytes


def take(path: Path, data: Path) -> Census:
    """The census of the closed database at `path`, whose keys are in the data folder `data`.

    Raises IntegrityError if an event is missing or damaged, or the newest checkpoint does not fit.
    """
    with connect(path, True) as connection:
        reader, number = Reader(connection, str(path)), format_of(connection, str(path))
        newest = reader.checkpoint() if number >= SIGNED_SINCE or _has_checkpoints(reader) else None
        peaks, last, first, root = Peaks(), "", "", None
        for seq, digest, content in _told(reader, number):
            if seq != peaks.size + 1 or content is None or sha256(content) != digest:
                what = f"event {peaks.size + 1} is missing" if seq != peaks.size + 1 else f"event {seq} was changed"
                raise IntegrityError(what, str(path), "restore a backup with the version that wrote it")
            last, first = digest, first or digest
            peaks.append(leaf_hash(content))
            if newest and peaks.size == newest[0]:
                root = peaks.root()
        if newest:
            _fits(newest[1], root, first, data, str(path))
        return Census(peaks.size, last, peaks.root())


def _told(reader: Reader, number: int) -> Iterator[tuple[int, str, bytes | None]]:
    """Number, recorded hash and canonical bytes of each event, in order. No bytes: it is none."""
    content, after = "bytes" if number < 3 else schema.BYTES, 0
    query = f"SELECT seq, hash, {content} FROM events WHERE seq > ? ORDER BY seq LIMIT {PAGE}"
    while True:
        page = reader.rows(query, after)
        if not page:
            return
        yield from page
        after = page[-1][0]


def _fits(note: str, root: bytes | None, first: str, data: Path, where: str) -> None:
    """Raise IntegrityError unless a note signs events with this root, the first of which has this hash."""
    do = "restore a backup with the version that wrote it"
    try:
        signed = open_checkpoint(note, Key(origin(first), public_key(read_key(data / KEYS / "checkpoint.key"))))
    except Invalid as error:
        raise IntegrityError(f"the newest checkpoint does not hold: {error}", where, do) from None
    if signed.root != root:
        what = f"the newest checkpoint signed {signed.size} events, and they are not those that are there"
        raise IntegrityError(what, where, do)


def _has_checkpoints(reader: Reader) -> bool:
    return bool(reader.rows("SELECT 1 FROM duckdb_tables() WHERE table_name = 'checkpoints'"))

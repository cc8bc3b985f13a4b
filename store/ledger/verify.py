"""Verification: recompute everything in the ledger and compare.

It trusts what events say only as far as the chains hold and the checkpoints sign. What it
cannot see is a tail rewritten or cut off together with the checkpoints that signed it: against that stands a checkpoint
that was kept elsewhere. How many events no checkpoint covers is told. It changes nothing, and damage makes it report,
not stop.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import duckdb

from store.ledger import schema
from store.ledger.contents import Contents
from store.ledger.copies import Opened
from store.ledger.gap import gaps
from store.ledger.notary import origin
from store.ledger.tree import Tile, Tree
from store.records.canonical import Json, canonical_names, sha256
from store.records.errors import BailiwickError, IntegrityError, Unreachable
from store.verify import (
    START,
    TOMBSTONES,
    Checkpoint,
    Histories,
    Invalid,
    Key,
    Link,
    broken_link,
    leaf_hash,
    open_checkpoint,
    time_problems,
)

PAGE = 2000
"""Rows in memory at a time."""

REPORTED = 100
"""The most problems that are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found. `events` counts the rows read; `problems` name the event and what is wrong with it.

    `unsigned` is how many events at the end no checkpoint covers, `destroyed` how many payloads an event says
    were shredded or swept. `locked` says why no content could be opened; all else was checked.
    """

    ok: bool
    events: int
    problems: tuple[str, ...]
    unsigned: int = 0
    destroyed: int = 0
    locked: str = ""


class Chain:
    """What must hold from one event to the next. Fed with rows in the order of their numbers."""

    def __init__(self) -> None:
        self.seq = 0
        self.epoch = 0
        self.mono_ns = 0
        self.time = ""
        self.references: dict[str, tuple[int, str]] = {}
        """Each payload's first event, by number and tenant."""
        self.tombstones: dict[int, Json] = {}
        """The events that say that payloads were destroyed, by number."""
        self._links: dict[str, Link] = {}

    def follow(self, body: dict[str, Json], digest: str) -> Iterator[str]:
        """What is wrong with the place of this event, whose bytes have this digest."""
        if body["seq"] <= self.seq:
            yield f"stands after event {self.seq}: events were moved or repeated"
        elif body["seq"] > self.seq + 1:
            first, last = self.seq + 1, body["seq"] - 1
            missing = f"event {first} was" if first == last else f"events {first} to {last} were"
            yield f"follows event {self.seq}: {missing} deleted"
        if body["epoch"] < max(self.epoch, 1):
            yield f"has epoch {body['epoch']} after epoch {self.epoch}"
        elif body["epoch"] == self.epoch and body["mono_ns"] < self.mono_ns:
            yield "was made before the event in front of it: events were moved"
        yield from time_problems(body, self.seq, self.time)
        if not 0 <= body["cause"] < body["seq"]:
            yield "names a cause that is not before it"
        yield from broken_link(body["prev"], self._links.get(body["actor"], START))
        self.seq, self.epoch, self.mono_ns, self.time = body["seq"], body["epoch"], body["mono_ns"], body["time"]
        self._links[body["actor"]] = Link(digest, body["seq"], body["prev"])
        if body["kind"] in TOMBSTONES:
            self.tombstones[body["seq"]] = body
        if body["payload"]:
            self.references.setdefault(body["payload"], (body["seq"], body["tenant"]))


class Signed:
    """What must hold between the events and what was signed over them. Fed with their bytes, in order."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, ledger: Opened) -> None:
        self._cursor = cursor
        self._public = ledger.proofs.public
        self._kept, self._unread = _mirrored(ledger)
        self._origin = ""
        self._tree = Tree(_not_stored)
        self._tiles = 0
        self._wrong: set[int] = set()
        self._found = Histories()
        self.covered = 0
        """The size of the largest checkpoint that holds, and all before it."""
        self._next: tuple[int, str] | None = (-(2**63), "")
        self._next = self._checkpoint()

    def follow(self, data: bytes) -> Iterator[str]:
        """What is wrong with tiles and checkpoints that end with this event."""
        self._origin = self._origin or origin(sha256(data))
        for tile in self._tree.append(leaf_hash(data)):
            yield from self._compare(tile)
        self._tree.stored()
        yield from self._checked(self._tree.size)

    def end(self) -> Iterator[str]:
        """What is wrong with those that no event belongs to."""
        yield from self._checked(2**63)
        yield from self._found.forked()
        if self._unread:
            yield self._unread
        stored = self._cursor.execute("SELECT count(*) FROM tiles").fetchall()[0][0]
        if stored > self._tiles:
            yield f"{stored - self._tiles} tiles of the tree are over events that are not there: events were cut off"

    def _checked(self, size: int) -> Iterator[str]:
        """What is wrong with the next checkpoints, up to this size."""
        while self._next and self._next[0] <= size:
            yield from self._check(*self._next)
            self._next = self._checkpoint()
        while self._kept and self._kept[-1].size <= size:
            yield from self._fits(self._kept.pop(), "mirrored checkpoint")

    def _checkpoint(self) -> tuple[int, str] | None:
        """The one after the last that was looked at."""
        assert self._next
        query = "SELECT size, note FROM checkpoints WHERE size > ? ORDER BY size LIMIT 1"
        found = self._cursor.execute(query, [self._next[0]]).fetchall()
        return found[0] if found else None

    def _check(self, size: int, note: str) -> Iterator[str]:
        try:
            signed = open_checkpoint(note, Key(note.partition("\n")[0], self._public))
        except (Invalid, AttributeError) as error:
            yield f"the checkpoint of {size} events does not hold: {error}"
            return
        if signed.size != size:
            yield f"the checkpoint of {signed.size} events stands as one of {size}"
        else:
            yield from self._fits(signed, "checkpoint")

    def _fits(self, signed: Checkpoint, what: str) -> Iterator[str]:
        if signed.size > self._tree.size:
            yield f"a {what} signed {signed.size} events, {self._tree.size} are there: events were cut off"
            return
        fits = (signed.origin, signed.root) == (self._origin, self._tree.root())
        yield from self._found.add(signed.size, fits, what)
        self.covered = self._found.common

    def _compare(self, tile: Tile) -> Iterator[str]:
        self._tiles += 1
        query = "SELECT root, data FROM tiles WHERE level = ? AND number = ?"
        found = self._cursor.execute(query, [tile.level, tile.number]).fetchall()
        if found != [(tile.root, tile.data)] and tile.level not in self._wrong:
            self._wrong.add(tile.level)  # once a level: after a missing event none fits
            yield f"tile {tile.number} of level {tile.level} is not that of the events below it"


def _mirrored(ledger: Opened) -> tuple[list[Checkpoint], str]:
    """The checkpoints in the mirror, the largest first, and why they cannot be read."""
    try:
        key, left = Key(ledger.proofs.name, ledger.proofs.public), gaps(ledger.reader)
        return ledger.mirror.checkpoints(key, gaps=left)[::-1] if ledger.mirror else [], ""
    except (Unreachable, IntegrityError) as error:
        return [], str(error)


def _not_stored(level: int, number: int, count: int) -> list[bytes]:
    raise IntegrityError(f"{count} tiles of level {level} from {number} on were not computed")


def verify(ledger: Opened) -> Verification:
    """Recompute everything in one snapshot. Works beside a running writer; takes about a second per 30,000 events."""
    problems: list[str] = []
    count = more = covered = 0
    archive = Contents(ledger)

    def note(found: Iterable[str]) -> None:
        nonlocal more
        for problem in found:
            if len(problems) < REPORTED:
                problems.append(problem)
            else:
                more += 1

    try:
        with ledger.reader.cursor() as cursor:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            chain, signed = Chain(), Signed(cursor, ledger)
            for seq, digest, *columns in _rows(cursor):
                count += 1
                body = _fields(columns)
                data = canonical_names(body) if body else b""
                note(f"event {seq} {what}" for what in _event_problems(digest, body, data, chain))
                note(signed.follow(data))
            note(signed.end())
            covered = signed.covered
            note(_table_problems(cursor, count))
            note(archive.problems(cursor, chain))
    except BailiwickError as error:
        problems.append(str(error))
    if more:
        problems.append(f"and {more} more")
    unsigned = max(0, count - covered)
    return Verification(not problems, count, tuple(problems), unsigned, archive.destroyed, archive.locked)


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[Json, ...]]:
    """Every row, in the order of the numbers: seq, hash, then the fields."""
    query = f"SELECT seq, hash, {schema.PROJECTED} FROM events WHERE seq > ? ORDER BY seq LIMIT {PAGE}"
    last = -(2**63)
    while page := cursor.execute(query, [last]).fetchall():
        yield from page
        last = page[-1][0]


def _event_problems(digest: str, body: dict[str, Json] | None, data: bytes, chain: Chain) -> Iterator[str]:
    """What is wrong with the event that has these fields and canonical bytes, and this in its column `hash`."""
    if body is None:
        yield "is no event: its fields are not what an event has"
        return
    if sha256(data) != digest:
        yield "is not what its hash was made of: it was changed"
    if body["schema"] not in schema.SCHEMAS:
        yield f"has the schema number {body['schema']}, which this version does not know"
        return
    yield from chain.follow(body, digest)  # so that the next is not blamed for this one


def _fields(columns: list[Json]) -> dict[str, Json] | None:
    """The event that the columns tell of, as JSON; None if they tell of none."""
    body = dict(zip(schema.FIELDS, columns, strict=True))
    if columns.count(None) != (body["labels"] is None) or not schema.within(columns):
        return None
    try:
        body["labels"] = None if body["labels"] is None else _labels(body["labels"])
        time = datetime.fromisoformat(body["time"][:-1]).isoformat(timespec="microseconds")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return body if body["time"] == f"{time}Z" else None


@lru_cache(1024)
def _labels(text: str) -> Json:
    return schema.labels(text).json()


def _table_problems(cursor: duckdb.DuckDBPyConnection, count: int) -> Iterator[str]:
    """Rows that the walk could not meet."""
    stored = cursor.execute("SELECT count(*) FROM events").fetchall()[0][0]
    if stored != count:
        yield f"the table holds {stored} events, {count} could be read"

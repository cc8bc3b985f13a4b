"""Verification: recompute everything in the ledger and compare.

It trusts nothing but the canonical bytes, and these only as far as the chains hold and the checkpoints sign. What it
cannot see is a tail rewritten or cut off together with the checkpoints that signed it: against that stands a checkpoint
that was kept elsewhere. How many events no checkpoint covers is told. It changes nothing, and damage makes it report,
not stop.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

import duckdb

from store.ledger import schema
from store.ledger.contents import Contents
from store.ledger.copies import Opened
from store.ledger.gap import gaps
from store.ledger.notary import origin
from store.ledger.tree import Tile, Tree
from store.records.canonical import EXACT, Json, canonical, canonical_names, parse, sha256
from store.records.errors import BailiwickError, IntegrityError, Unreachable
from store.records.event import GENESIS, Event
from store.records.labels import Labels
from store.verify import TOMBSTONES, Checkpoint, Invalid, Key, leaf_hash, open_checkpoint

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
        self.references: dict[str, tuple[int, str]] = {}
        """Each payload's first event, by number and tenant."""
        self.tombstones: dict[int, Json] = {}
        """The events that say that payloads were destroyed, by number."""
        self._heads: dict[str, tuple[str, int]] = {}

    def follow(self, body: dict[str, Json], digest: str) -> Iterator[str]:
        """What is wrong with the place of this event, whose bytes have this digest."""
        if body["seq"] <= self.seq:
            yield f"stands after event {self.seq}: events were moved or repeated"
        elif body["seq"] > self.seq + 1:
            first, last = self.seq + 1, body["seq"] - 1
            missing = f"event {first} is missing" if first == last else f"events {first} to {last} are missing"
            yield f"follows event {self.seq}: {missing}"
        if body["epoch"] < max(self.epoch, 1):
            yield f"has epoch {body['epoch']} after epoch {self.epoch}"
        elif body["epoch"] == self.epoch and body["mono_ns"] < self.mono_ns:
            yield "was made before the event in front of it"
        if not 0 <= body["cause"] < body["seq"]:
            yield "names a cause that is not before it"
        head, at = self._heads.get(body["actor"], (GENESIS, 0))
        if body["prev"] != head:
            before = f"event {at}" if at else "the beginning"
            yield f"does not chain to {before}, the same actor's last: one of them, or one between, was changed"
        self.seq, self.epoch, self.mono_ns = body["seq"], body["epoch"], body["mono_ns"]
        self._heads[body["actor"]] = digest, body["seq"]
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
        self._broken = False
        self.covered = 0
        """The size of the largest checkpoint that holds."""
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
        elif not self._broken and (signed.origin, signed.root) != (self._origin, self._tree.root()):
            self._broken = True  # all later ones are over the same events
            yield f"the {what} of {signed.size} events signed other events than those that are there"
        elif not self._broken:
            self.covered = max(self.covered, signed.size)

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


def _not_stored(level: int, number: int) -> bytes:
    raise IntegrityError(f"tile {number} of level {level} was not computed")


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
            for row in _rows(cursor):
                count += 1
                note(f"event {row[0]} {what}" for what in _event_problems(row, chain))
                note(signed.follow(row[2]))
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
    """Every row, in the order of the numbers: seq, hash, bytes, then the projected fields."""
    query = f"SELECT seq, hash, bytes, {schema.PROJECTED} FROM events WHERE seq > ? ORDER BY seq LIMIT {PAGE}"
    last = -(2**63)
    while page := cursor.execute(query, [last]).fetchall():
        yield from page
        last = page[-1][0]


def _event_problems(row: tuple[Json, ...], chain: Chain) -> Iterator[str]:
    _, digest, data, *columns = row
    computed = sha256(data)
    if computed != digest:
        yield "has bytes that do not match its hash"
    body = _told(columns)
    if body is None or canonical_names(body) != data:
        body = yield from _differing(data, columns)
    if body is None:
        return
    if body["schema"] not in schema.SCHEMAS:
        yield f"has the schema number {body['schema']}, which this version does not know"
        return
    try:
        yield from chain.follow(body, computed)
    except TypeError:
        yield "has bytes that are not an event"


def _told(columns: list[Json]) -> dict[str, Json] | None:
    """The event that the columns tell of, None if they tell of none.

    Where its canonical bytes are the event's own, bytes and columns say the same, and nothing need be parsed.
    """
    body = dict(zip(schema.FIELDS, columns, strict=True))
    numbers = _numbers(columns)
    if columns.count(None) != (body["labels"] is None) or max(numbers) > EXACT or min(numbers) < -EXACT:
        return None
    try:
        body["labels"] = body["labels"] and _labels(body["labels"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return body


_numbers = itemgetter(*(place for place, name in enumerate(schema.FIELDS) if schema.EVENT_COLUMNS[name] == "BIGINT"))


@lru_cache(1024)
def _labels(text: str) -> Json:
    """The JSON of labels in a column. Raises one of several errors if they are none, or not written canonically."""
    body = parse(text.encode())
    if canonical(Labels.parse(body).json()) != text.encode() or canonical(body) != text.encode():
        raise ValueError("these are no labels")
    return body


def _differing(data: bytes, columns: list[Json]) -> Generator[str, None, dict[str, Json] | None]:
    """What is wrong with bytes and columns that do not say the same; returns what the bytes say, if it is an event."""
    try:
        body: dict[str, Json] = parse(data)
        Event.parse(data)
        well_formed = canonical(body) == data and body.keys() == set(schema.FIELDS)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        yield "has bytes that are not an event"
        return None
    if not well_formed:
        yield "has bytes that are not canonical"
        return None
    shown = {**body, "labels": schema.labels_text(body["labels"])}
    for name, column in zip(schema.FIELDS, columns, strict=True):
        if column != shown[name] and name == "seq":
            yield f"is numbered {column} in its column and {shown[name]} in its bytes"
        elif column != shown[name] or type(column) is not type(shown[name]):
            yield f"has another {name} in its column than in its bytes"
    return body


def _table_problems(cursor: duckdb.DuckDBPyConnection, count: int) -> Iterator[str]:
    """Rows that the walk could not meet: two under one number, in a table that lost its key."""
    for seq, times in cursor.execute("SELECT seq, count(*) FROM events GROUP BY seq HAVING count(*) > 1").fetchall():
        yield f"event {seq} is there {times} times"
    stored = cursor.execute("SELECT count(*) FROM events").fetchall()[0][0]
    if stored != count:
        yield f"the table holds {stored} events, {count} could be read"

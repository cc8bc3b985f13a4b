"""Proofs of the ledger, checked with nothing else of Bailiwick at hand: the standard library and `cryptography`.

An auditor can copy this one file. It knows the Merkle tree of RFC 6962 (leaves and nodes hashed under different first
bytes), inclusion and consistency proofs as RFC 9162 checks them (2.1.3.2, 2.1.4.2), and what C2SP specifies for such
logs: signed-note, tlog-checkpoint, tlog-proof, tlog-tiles. It must never trust what it is to check: every length,
number and key is looked at before it is used.
"""

import argparse
import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

HASH_BYTES = 32
EMPTY = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""
ED25519 = b"\x01"
"""How C2SP's signed notes mark an Ed25519 key."""
INCLUSION = "c2sp.org/tlog-proof@v1"
CONSISTENCY = "bailiwick/consistency@v1"
EVENTS_FILE, CHECKPOINTS_FILE, KEY_FILE = "events.jsonl", "checkpoints.jsonl", "key.txt"
"""The files of an audit folder: the canonical bytes of each event; each checkpoint as JSON; the public key."""
DESTROYED_FILE = "destroyed.jsonl"
"""One more: each payload that is no more, as JSON with its `id` and the `event` that says so."""
TILES_FOLDER = "tile"
"""One more: the tree, as files that tlog-tiles names. Whoever has other tools for such logs can give them these."""
TILE_BITS = 8
TILE_BYTES = HASH_BYTES << TILE_BITS
"""A full tile has 256 hashes."""
TOMBSTONES = ("keys.shredded", "payloads.swept")
"""The kinds of those events. Their fingerprint is the digest of the ids and a mark of the log's writer, which only the
writer can check: without its keys one can tell that the event is signed and the list is the one it was signed over."""
SET_BACK = "clock.set-back"
"""The kind of the event that may be dated before the one in front of it, its cause. Its step is by how many ms."""
LARGEST_PROOF = LARGEST_LINE = 2**20
"""Bytes. An event has a few kilobytes at most, a proof one."""
REPORTED = 100
"""Problems that are named."""
GENESIS = "0" * 64
"""What an actor's first event names as its last."""
MOST_SIGNATURES = 100
LARGEST_NOTE = 2**20
"""Bytes. A checkpoint has a few hundred."""


class Invalid(ValueError):
    """What was given is not what it claims to be. The text says why, in one line."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf, 32 bytes (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over two hashes (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tombstone(ids: Iterable[str]) -> str:
    """What an event that says that payloads are no more has as its fingerprint: the hex SHA-256 of their ids, sorted,
    each with a newline after it."""
    return hashlib.sha256("".join(f"{id}\n" for id in sorted(ids)).encode()).hexdigest()


def listed(fingerprint: str) -> str:
    """The digest of the list in the fingerprint of such an event."""
    return fingerprint.partition(".")[0]


def set_back_ms(before: str, now: str) -> int:
    """By how many milliseconds, begun ones counted, a clock was set back that showed `before` and then `now`, both as
    events write times. Raises ValueError if these are none."""
    return -((datetime.fromisoformat(now) - datetime.fromisoformat(before)) // timedelta(milliseconds=1))


def time_problems(event: dict[str, Any], last: int, before: str) -> Iterator[str]:
    """What is wrong with the time of an event that follows the event `last`, whose time was `before`."""
    if event["kind"] == SET_BACK:
        if not _explains(event, last, before):
            yield f"does not say how the clock was set back after event {last}"
    elif event["time"] < before:
        yield f"is dated before event {last}, and nothing says that the clock was set back"


def _explains(event: dict[str, Any], last: int, before: str) -> bool:
    try:
        back = set_back_ms(before, event["time"])
    except ValueError:
        return False
    return back > 0 and (event["cause"], event["step"]) == (last, str(back))


@dataclass(frozen=True, slots=True)
class Link:
    """An actor's last event: its hash, its number, and the hash of the one before that it names."""

    hash: str
    seq: int
    prev: str


START = Link(GENESIS, 0, GENESIS)
"""Where every actor begins."""


def broken_link(prev: str, last: Link) -> Iterator[str]:
    """What is wrong with an event that names `prev` as its actor's last event, which is `last`."""
    if prev == last.hash:
        return
    if prev == last.prev:
        yield f"chains to what came before event {last.seq}, the same actor's last: that one was inserted"
    else:
        before = f"event {last.seq}" if last.seq else "the beginning"
        yield f"does not chain to {before}, the same actor's last: one of them, or one between, was changed"


class Histories:
    """Which checkpoints fit the events that are there. Fed in the order of their sizes, from whatever sources.

    All are signed with one key: if one does not fit, and one of as many events or more does, the key has signed two
    histories.
    """

    def __init__(self) -> None:
        self.last = 0
        """The size of the last checkpoint, whether it fits or not."""
        self.common = 0
        """The size of the largest checkpoint that fits, and all before it."""
        self._before = 0
        self._other = 0
        self._fitting = 0

    def add(self, size: int, fits: bool, what: str) -> Iterator[str]:
        """A checkpoint of so many events, which are there. What is wrong with it, said once: after a change no later
        one fits."""
        self.last = size
        if fits:
            self._fitting = size
            if not self._other and size > self.common:
                self._before, self.common = self.common, size
        elif not self._other:
            self._other = size
            if self.common == size:  # two of one size, and one fits
                self.common = self._before
            one = f"event {size} was" if self.common + 1 == size else f"of events {self.common + 1} to {size} some were"
            yield f"the {what} of {size} events signed other events than those that are there: {one} changed"

    def forked(self) -> Iterator[str]:
        """What is wrong with all of them together."""
        if self._other and self._fitting >= self._other:
            yield (
                f"the log was forked after event {self.common}: its key has signed {self._fitting} events of this "
                f"history, and {self._other} of another"
            )


class Peaks:
    """A tree that only grows, as the roots of its complete subtrees from left to right: all that its root needs.

    With n leaves it holds as many hashes as n has ones in binary.
    """

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []

    def append(self, root: bytes, height: int = 0) -> list[tuple[int, bytes]]:
        """Add a leaf's hash, or the `root` of a complete subtree of 2**height leaves that starts where it may.

        Returns what became complete: height and root of each subtree that ends here, the lowest first.
        """
        if self.size % (1 << height):
            raise Invalid(f"a subtree of {1 << height} leaves cannot follow {self.size}")
        self.size += 1 << height
        complete = [(height, root)]
        while self._peaks and self._peaks[-1][0] == height:
            root, height = node_hash(self._peaks.pop()[1], root), height + 1
            complete.append((height, root))
        self._peaks.append((height, root))
        return complete

    def root(self) -> bytes:
        """The root of all (RFC 6962, 2.1), 32 bytes."""
        if not self._peaks:
            return EMPTY
        found = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            found = node_hash(peak, found)
        return found


def tile_path(level: int, number: int, width: int = 0) -> str:
    """Where C2SP's tlog-tiles has a tile, below its folder: tile 1,234,067 of level 0 is 0/x001/x234/067. `width` is
    that of a tile which is not full, in hashes."""
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03}")
    return "/".join([str(level), *groups]) + (f".p/{width}" if width else "")


class Tiles:
    """The tiles of a growing tree, level 0 with its leaves' hashes, each level's tiles an entry each of the next."""

    def __init__(self) -> None:
        self._rows: list[bytearray] = []
        self._full: list[int] = []

    def add(self, complete: Iterable[tuple[int, bytes]]) -> Iterator[tuple[str, bytes]]:
        """What `Peaks.append` returned. The tiles that are full now, as path and hashes."""
        for height, root in complete:
            level, inside = divmod(height, TILE_BITS)
            if inside:
                continue
            if level == len(self._rows):
                self._rows.append(bytearray())
                self._full.append(0)
            row = self._rows[level]
            row += root
            if len(row) == TILE_BYTES:
                yield tile_path(level, self._full[level]), bytes(row)
                self._full[level] += 1
                row.clear()

    def rest(self) -> Iterator[tuple[str, bytes]]:
        """The tiles that are not full."""
        for level, row in enumerate(self._rows):
            if row:
                yield tile_path(level, self._full[level], len(row) // HASH_BYTES), bytes(row)


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise Invalid unless `proof` shows that the leaf with this hash is number `index` (from 0) under `root`."""
    if not 0 <= index < size:
        raise Invalid(f"entry {index} is not in a tree of {size}")
    found = leaf
    for each, left in _climb(index, size - 1, _hashes(proof), "inclusion"):
        found = node_hash(each, found) if left else node_hash(found, each)
    if found != root:
        raise Invalid(f"entry {index} is not what the tree of {size} holds there")


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raise Invalid unless `proof` shows that the tree of `new` leaves is the one of `old`, and more after it."""
    if not 0 <= old <= new:
        raise Invalid(f"a tree of {new} cannot have grown out of one of {old}")
    if old in (0, new):
        if proof:
            raise Invalid("the consistency proof is too long")
        if old_root != (new_root if old else EMPTY):
            raise Invalid(f"two trees of {old} are not the same")
        return
    path = _hashes(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise Invalid("the consistency proof is too short")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for each, left in _climb(at, last, path[1:], "consistency"):
        if left:
            first = node_hash(each, first)
        second = node_hash(each, second) if left else node_hash(second, each)
    if first != old_root or second != new_root:
        raise Invalid(f"the tree of {new} did not grow out of the one of {old}: something before was changed")


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that signs checkpoints under a name: `public` is 32 bytes of Ed25519."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The 4 bytes that mark this key's signatures."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    @property
    def fingerprint(self) -> str:
        """What is pinned: the hex SHA-256 of the public key."""
        return hashlib.sha256(self.public).hexdigest()

    def __str__(self) -> str:
        """As C2SP writes a verifier key."""
        return f"{self.name}+{self.id.hex()}+{_encoded(ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The key in C2SP's text. Raises Invalid."""
        name, _, rest = text.strip().partition("+")
        id, _, public = rest.partition("+")
        data = _decoded(public, "key")
        if not is_name(name) or data[:1] != ED25519 or len(data) != 1 + HASH_BYTES:
            raise Invalid("the key is no Ed25519 key of a signed note")
        key = cls(name, data[1:])
        if key.id.hex() != id:
            raise Invalid("the key does not match its own id")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says it holds: its `origin`, the number of its leaves, and their root."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{_encoded(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """The checkpoint in a note's text; lines after the third are not looked at. Raises Invalid."""
        lines = text.split("\n")
        if len(lines) < 4 or not all(lines[:-1]):
            raise Invalid("the note is no checkpoint")
        origin, size, root = lines[:3]
        data = _decoded(root, "root")
        if len(data) != HASH_BYTES:
            raise Invalid("the checkpoint has no root")
        return cls(origin, _number(size), data)


def is_name(name: str) -> bool:
    """Whether a signed note can have a key of this name."""
    return bool(name) and name.isprintable() and not any(letter.isspace() or letter == "+" for letter in name)


def open_note(note: str, key: Key) -> str:
    """The text of a note that `key` has signed. Raises Invalid if it has not, or if the note is not one."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        note.encode()
    except UnicodeEncodeError:
        raise Invalid("the note is no Unicode") from None
    text, found, lines = note.rpartition("\n\n")
    text += "\n"
    signatures = lines.split("\n")
    if not found or len(note) > LARGEST_NOTE or signatures.pop() or not 0 < len(signatures) <= MOST_SIGNATURES:
        raise Invalid("this is no signed note")
    for line in signatures:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        data = _decoded(encoded, "signature")
        if dash != "\u2014" or not is_name(name) or len(data) < len(key.id):
            raise Invalid("a signature of the note is malformed")
        if name == key.name and data[:4] == key.id:
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(data[4:], text.encode())
            except InvalidSignature:
                raise Invalid("the note was changed, or its signature is forged") from None
            return text
    raise Invalid("the note is not signed with this key: it is forged, or another log's")


def open_checkpoint(note: str, key: Key) -> Checkpoint:
    """The checkpoint in a note that `key` has signed. Raises Invalid, also if it is another log's."""
    checkpoint = Checkpoint.parse(open_note(note, key))
    if checkpoint.origin != key.name:
        raise Invalid(f"the checkpoint is of another log: {checkpoint.origin[:80]!r}")
    return checkpoint


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The proof that `entry` is number `index` of a log: a C2SP tlog-proof, with the entry itself as its extra data."""

    entry: bytes
    index: int
    path: tuple[bytes, ...]
    note: str

    def __str__(self) -> str:
        extra = _encoded(self.entry)
        return "\n".join([INCLUSION, f"extra {extra}", f"index {self.index}", *map(_encoded, self.path), "", self.note])

    @classmethod
    def parse(cls, text: str) -> "Inclusion":
        """The proof in a text. Raises Invalid."""
        head, _, note = text.partition("\n\n")
        kind, *lines = head.split("\n")
        if (
            kind != INCLUSION
            or len(lines) < 2
            or not lines[0].startswith("extra ")
            or not lines[1].startswith("index ")
        ):
            raise Invalid("this is no proof of an entry")
        entry, index = _decoded(lines[0][6:], "entry"), _number(lines[1][6:])
        return cls(entry, index, tuple(_decoded(line, "hash") for line in lines[2:]), note)

    def check(self, key: Key) -> Checkpoint:
        """The checkpoint that covers the entry, signed with `key`. Raises Invalid."""
        checkpoint = open_checkpoint(self.note, key)
        check_inclusion(leaf_hash(self.entry), self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint


@dataclass(frozen=True, slots=True)
class Consistency:
    """The proof that the log whose newest checkpoint is `note` continues what an older checkpoint signed."""

    path: tuple[bytes, ...]
    note: str

    def __str__(self) -> str:
        return "\n".join([CONSISTENCY, *map(_encoded, self.path), "", self.note])

    @classmethod
    def parse(cls, text: str) -> "Consistency":
        """The proof in a text. Raises Invalid."""
        head, _, note = text.partition("\n\n")
        kind, *lines = head.split("\n")
        if kind != CONSISTENCY:
            raise Invalid("this is no proof that a log continues")
        return cls(tuple(_decoded(line, "hash") for line in lines), note)

    def check(self, old: str, key: Key) -> tuple[Checkpoint, Checkpoint]:
        """The checkpoint in the signed note `old` and the newest one, both signed with `key`. Raises Invalid."""
        before, after = open_checkpoint(old, key), open_checkpoint(self.note, key)
        check_consistency(before.size, before.root, after.size, after.root, self.path)
        return before, after


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in an audit folder: how many events and checkpoints, whose key, what is wrong, and how many
    payloads were destroyed, as events say.
    """

    events: int
    checkpoints: int
    fingerprint: str
    problems: tuple[str, ...]
    destroyed: int = 0


def audit(folder: Path, pinned: str = "", kept: str | None = None) -> Audit:
    """Recompute everything in a folder that `bailiwick audit export` wrote.

    `pinned` is the fingerprint that the key must have; without it, the folder's own key proves only that the folder is
    consistent in itself. `kept` is a checkpoint from elsewhere that must fit as well. Raises Invalid or OSError if the
    folder is none.
    """
    key = Key.parse(_read(folder / KEY_FILE))
    problems = _Problems()
    if pinned not in ("", key.fingerprint):
        problems.append(f"the key is not the pinned one, so all may be forged: it is {key.fingerprint}")
    signed: dict[int, list[Checkpoint]] = {}
    if kept is not None:
        try:
            checkpoint = open_checkpoint(kept, key)
            signed[checkpoint.size] = [checkpoint]
        except Invalid as error:
            problems.append(f"the checkpoint that was kept does not hold: {error}")
    count, found = 0, Histories()
    for number, line in enumerate(_lines(folder / CHECKPOINTS_FILE), 1):
        try:
            checkpoint = open_checkpoint(_json(line)["note"], key)
            signed.setdefault(checkpoint.size, []).append(checkpoint)
            count += 1
        except (Invalid, KeyError, TypeError, AttributeError) as error:  # whatever stands there
            problems.append(f"checkpoint {number} does not hold: {error}")
    peaks, chain, tiles = Peaks(), _Chain(), _Tiles(folder / TILES_FOLDER)
    for line in _lines(folder / EVENTS_FILE):
        tiles.compare(tiles.add(peaks.append(leaf_hash(line))))
        for what in chain.follow(line):
            problems.append(f"event {peaks.size} {what}")
        for checkpoint in signed.pop(peaks.size, []):
            for what in found.add(peaks.size, checkpoint.root == peaks.root(), "checkpoint"):
                problems.append(what)
    tiles.compare(tiles.rest())
    if signed:
        problems.append(f"a checkpoint signed {max(signed)} events, {peaks.size} are there: events were cut off")
    for what in found.forked():
        problems.append(what)
    if found.last < peaks.size:
        problems.append(f"the events from {found.last + 1} on are not signed: no checkpoint covers them")
    destroyed = _destroyed(folder / DESTROYED_FILE, chain.tombstones, problems)
    tiles.say(problems)
    return Audit(peaks.size, count, key.fingerprint, problems.all(), destroyed)


def _destroyed(path: Path, signed: dict[int, str], problems: "_Problems") -> int:
    """Compare the list of destroyed payloads with the digests in events; how many there are."""
    listed: dict[int, set[str]] = {}
    for number, line in enumerate(_lines(path) if path.exists() else (), 1):
        try:
            entry = _json(line)
            id, event = entry["id"], entry["event"]
            if not isinstance(id, str) or not id.isascii() or not isinstance(event, int):
                raise Invalid("it has no id, or no event")
            listed.setdefault(event, set()).add(id)
        except (Invalid, KeyError, TypeError) as error:
            problems.append(f"destroyed payload {number} is none: {error}")
    for event in sorted(signed.keys() | listed.keys()):
        if signed.get(event) != tombstone(listed.get(event, ())):
            problems.append(
                f"event {event} was signed over another list of destroyed payloads than the one that is there"
            )
    return sum(map(len, listed.values()))


class _Problems:
    """The first problems in words, the rest as a number: there may be one for each line."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._more = 0

    def append(self, problem: str) -> None:
        if len(self._said) < REPORTED:
            self._said.append(problem)
        else:
            self._more += 1

    def all(self) -> tuple[str, ...]:
        return (*self._said, *([f"and {self._more} more"] if self._more else ()))


class _Tiles(Tiles):
    """The tiles that follow from the events, and those in a folder. Exports of version 0.1 have none."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._there = folder.is_dir()
        self._wrong: list[str] = []

    def compare(self, tiles: Iterable[tuple[str, bytes]]) -> None:
        """Note which of these is not the one in the folder."""
        for path, data in tiles:
            if self._there and (why := self._differs(path, data)):
                self._wrong.append(f"tile {path} {why}")

    def say(self, problems: "_Problems") -> None:
        """Say it, unless something else is wrong: other events have other tiles."""
        for problem in () if problems.all() else self._wrong:
            problems.append(problem)

    def _differs(self, path: str, data: bytes) -> str:
        try:
            with (self._folder / path).open("rb") as file:
                return "" if file.read(TILE_BYTES + 1) == data else "is not what the events hash to"
        except OSError as error:
            return f"cannot be read: {error.strerror}"


class _Chain:
    """What must hold from one event to the next: numbers, epochs, times, the hash of the same actor's last event."""

    def __init__(self) -> None:
        self._seq = 0
        self._time = ""
        self._epoch = 0
        self._mono_ns = 0
        self._links: dict[str, Link] = {}
        self.tombstones: dict[int, str] = {}
        """What events say of the payloads that are no more, by number."""

    def follow(self, line: bytes) -> Iterator[str]:
        """What is wrong with this event, in its place."""
        try:
            body = _json(line)
            seq, epoch, mono_ns, actor, before = (body[name] for name in ("seq", "epoch", "mono_ns", "actor", "prev"))
            if not all(isinstance(each, int) for each in (seq, epoch, mono_ns)) or not isinstance(actor, str):
                raise Invalid("it has no number, or no actor")
            untimely = list(time_problems(body, self._seq, self._time))
        except (Invalid, KeyError, TypeError) as error:
            yield f"is no event: {error}"
            return
        if seq != self._seq + 1:
            first, gone = self._seq + 1, f"events {self._seq + 1} to {seq - 1} were"
            gone = f"event {first} was" if seq == first + 1 else gone
            why = f"{gone} deleted" if seq > first else "events were inserted, moved or repeated"
            yield f"is numbered {seq} and follows {self._seq}: {why}"
        if epoch < self._epoch:
            yield f"has epoch {epoch} after epoch {self._epoch}"
        elif epoch == self._epoch and mono_ns < self._mono_ns:
            yield "was made before the event in front of it: events were moved"
        yield from untimely
        yield from broken_link(before, self._links.get(actor, START))
        if body.get("kind") in TOMBSTONES:
            self.tombstones[seq] = listed(str(body.get("fingerprint")))
        self._seq, self._epoch, self._mono_ns, self._time = seq, epoch, mono_ns, body["time"]
        self._links[actor] = Link(hashlib.sha256(line).hexdigest(), seq, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0 if what is given holds, 7 if it does not, 2 if it cannot be read."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Checks what a Bailiwick ledger proves.")
    parser.add_argument("path", type=Path, help="an audit folder, or a file that `bailiwick audit prove` wrote")
    parser.add_argument("--key", default="", help="the key line or, for a folder, its fingerprint; from elsewhere")
    parser.add_argument("--since", type=Path, metavar="FILE", help="the older checkpoint that the log is to continue")
    given = parser.parse_args(arguments)
    try:
        for path in filter(None, (given.path, given.since)):
            if not path.exists():
                raise Invalid(f"{path} does not exist")
        old = _read(given.since) if given.since else None
        if given.path.is_dir():
            return _audited(given.path, given.key, old)
        key, text = _key_line(given.key), _read(given.path)
    except (OSError, Invalid) as error:
        return _fail(2, str(error))
    try:
        if old is not None:
            before, after = Consistency.parse(text).check(old, key)
            print(f"ok: the log of {after.size} events continues that of {before.size}")
        else:
            proof = Inclusion.parse(text)
            print(f"ok: event {proof.index + 1} of {proof.check(key).size} is, byte for byte:")
            print(proof.entry.decode("utf-8", "backslashreplace"))
    except Invalid as error:
        return _fail(7, str(error))
    return 0


def _audited(folder: Path, key: str, kept: str | None) -> int:
    pinned = _fingerprint(key)
    found = audit(folder, pinned, kept)
    for problem in found.problems:
        print(problem)
    if found.problems:
        return _fail(7, f"the log is not what was recorded: {len(found.problems)} problems in {found.events} events")
    how = "as signed with the pinned key" if pinned else f"consistent, unauthenticated: signed with {found.fingerprint}"
    gone = f", {found.destroyed} payloads destroyed as events say" if found.destroyed else ""
    print(f"ok: {found.events} events, {found.checkpoints} checkpoints{gone}, {how}")
    return 0


def _fingerprint(given: str) -> str:
    """The fingerprint that `--key` stands for, given itself or as the key line. Raises Invalid."""
    if "+" in given:
        return _key_line(given).fingerprint
    if given and (len(given) != 2 * HASH_BYTES or set(given.lower()) - set("0123456789abcdef")):
        raise Invalid("--key is neither a fingerprint (64 hex digits) nor a key line (NAME+ID+KEY)")
    return given.lower()


def _key_line(given: str) -> Key:
    """The key in `--key`, which a proof needs whole. Raises Invalid."""
    if "+" in given:
        try:
            return Key.parse(given)
        except Invalid as error:
            raise Invalid(f"--key was given a key line: {error}") from None
    was = "--key was given a fingerprint" if _fingerprint(given) else "--key is missing"
    raise Invalid(f"{was}; a proof needs the key line: `bailiwick audit checkpoint --json` or {KEY_FILE} has it")


def _fail(code: int, why: str) -> int:
    print(f"verify: {why}", file=sys.stderr)
    return code


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(LARGEST_PROOF + 1)
    if len(data) > LARGEST_PROOF:
        raise Invalid(f"{path} is too large for a proof")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Invalid(f"{path} is no text") from None


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, without their ends. Raises Invalid if one is too long."""
    with path.open("rb") as file:
        while line := file.readline(LARGEST_LINE):
            if len(line) == LARGEST_LINE:
                raise Invalid(f"{path} has a line that is too long")
            yield line.removesuffix(b"\n")


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise Invalid("it is no JSON") from None


def _number(text: str) -> int:
    """A whole number as C2SP writes it: ASCII digits, no leading zero."""
    if not text.isascii() or not text.isdigit() or len(text) > 20 or str(int(text)) != text:
        raise Invalid("there is no number where one must be")
    return int(text)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _climb(at: int, last: int, path: Sequence[bytes], what: str) -> Iterator[tuple[bytes, bool]]:
    """Each hash of a path from node `at` of a row that ends with `last` up to the root, and whether it stands left.

    Raises Invalid if the path ends below the root, or goes on above it.
    """
    for each in path:
        if last == 0:
            raise Invalid(f"the {what} proof is too long")
        left = bool(at & 1) or at == last
        yield each, left
        while left and not at & 1 and at:
            at, last = at >> 1, last >> 1
        at, last = at >> 1, last >> 1
    if last:
        raise Invalid(f"the {what} proof is too short")


def _hashes(proof: Sequence[bytes]) -> list[bytes]:
    if any(len(each) != HASH_BYTES for each in proof):
        raise Invalid("the proof holds something that is no hash")
    return list(proof)


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(f"the {what} is not base64") from None


if __name__ == "__main__":
    sys.exit(main())

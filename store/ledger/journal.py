"""The journal: what was acknowledged and may not be in the tables yet.

A commit of DuckDB takes milliseconds, an append to a file and its sync a tenth of one. So what is said goes into the
journal first, in frames of one sync each, is acknowledged, and is filed in the tables a moment later; what a crash
leaves here is filed at the next opening (write-ahead logging: Mohan et al., ARIES, 1992). Two segments take turns: one
is written anew only when all that is in it is filed. A frame begins on a page of its own, so that writing it cannot
tear one that was acknowledged.

A frame is a head (magic, number of its first event, count, bytes of its body, SHA-256 over all but itself) and a body:
for each event its canonical bytes, what it brings (JSON) and its payload's data, each behind its length. All numbers
are little-endian and unsigned. Payloads are encrypted before they get here.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from store.keys.files import sync_folder
from store.ledger.archive import Payload
from store.ledger.entry import Entry
from store.records.canonical import sha256
from store.records.errors import IntegrityError, SettingsError
from store.records.event import Event

NAMES = ("journal.0", "journal.1")
SEGMENT = 2**20
"""Bytes after which the other segment is written, if all in it is filed."""
PAGE = 4096
CALL = 2**30
"""The most bytes of one call: Linux takes no more than twice that."""
_MAGIC = b"BWJRNL1\n"
_HEAD = struct.Struct("<8sQIQ32s")
_ENTRY = struct.Struct("<IIQ")
RESTORE = "restore a backup; what is in the journal's files can be kept beside it"


@dataclass(slots=True)
class _Segment:
    descriptor: int
    end: int = 0
    last: int = 0
    """The number of the last event in it."""


class Journal:
    """The journal of a ledger that is open for writing. `append` belongs to one thread, `file` to another."""

    def __init__(self, folder: Path) -> None:
        """Begin with an empty one: what was left must be filed. Raises SettingsError."""
        try:
            self._segments = [_Segment(_made(folder / name)) for name in NAMES]
            sync_folder(folder)
        except OSError as error:
            raise SettingsError(f"the journal cannot be written: {error.strerror}", str(folder)) from None
        self._active, self._other = self._segments
        self._filed = 0

    def append(self, entries: Sequence[Entry]) -> None:
        """Have entries on the disk: they follow each other, and what was appended before. Raises OSError."""
        if self._active.end >= SEGMENT and self._other.last <= self._filed:
            self._active, self._other = self._other, self._active
            self._active.end = 0
        frame, at = _frame(entries), self._active.end
        written = 0
        while written < len(frame):
            written += os.pwrite(self._active.descriptor, frame[written : written + CALL], at + written)
        os.fdatasync(self._active.descriptor)
        self._active.end = at + -(-len(frame) // PAGE) * PAGE
        self._active.last = entries[-1].event.seq

    def file(self, seq: int) -> None:
        """All up to this event is in the tables, on the disk."""
        self._filed = seq

    def close(self, *, empty: bool) -> None:
        """Let go of the files; `empty`: all is filed, and they are left without a byte."""
        for segment in self._segments:
            if empty:
                os.ftruncate(segment.descriptor, 0)
            os.close(segment.descriptor)


def left(folder: Path) -> bool:
    """Whether a runtime left something in the journal: it did not close, and its last events may be nowhere else."""
    return any(os.path.lexists(folder / name) and (folder / name).lstat().st_size for name in NAMES)


def highest_epoch(folder: Path) -> int:
    """The highest epoch in whatever is whole in the journal, damaged as it may be; 0 if there is nothing."""
    found = 0
    for name in NAMES:
        with contextlib.suppress(OSError, IntegrityError):
            data = _content(folder / name)
            frames = filter(None, (_whole(data, at) for at in range(0, len(data), PAGE)))
            epochs = (entry.event.epoch for _, _, body in frames for entry in _entries(body, str(folder / name)))
            found = max(found, *epochs, 0)
    return found


def read(folder: Path, after: int) -> list[Entry]:
    """What is in the journal and numbered above `after`, the last event in the tables, in order.

    A last frame that is not whole was never acknowledged. Raises IntegrityError if anything else is not what was
    written, OSError if it cannot be read.
    """
    found = [entry for name in NAMES for entry in _segment(_content(folder / name), after, str(folder / name))]
    found.sort(key=lambda entry: entry.event.seq)
    for entry, seq in zip(found, range(after + 1, after + 1 + len(found)), strict=True):
        if entry.event.seq != seq:
            raise IntegrityError(f"event {seq} is not in the journal, and event {entry.event.seq} is", str(folder))
    return found


def _segment(data: bytes, after: int, where: str) -> Iterator[Entry]:
    """The entries of a segment above `after`. Behind what was written last may stand what was written a turn before,
    which is filed."""
    at, last = 0, 0
    while frame := _whole(data, at):
        first, count, body = frame
        if last and first != last + 1:
            break
        last = first + count - 1
        if last > after:
            yield from (entry for entry in _entries(body, where) if entry.event.seq > after)
        at += -(-(_HEAD.size + len(body)) // PAGE) * PAGE
    for begin in range(at, len(data), PAGE):
        later = _whole(data, begin)
        if later and later[0] > max(last, after):
            what = f"the journal is damaged before event {later[0]}, which was acknowledged"
            raise IntegrityError(what, where, RESTORE)


def _whole(data: bytes, at: int) -> tuple[int, int, memoryview] | None:
    """Number of the first event, count and body of the frame that begins here, None if none does."""
    if data[at : at + len(_MAGIC)] != _MAGIC or len(data) < at + _HEAD.size:
        return None
    _, first, count, size, digest = _HEAD.unpack_from(data, at)
    body = memoryview(data)[at + _HEAD.size : at + _HEAD.size + size]
    if len(body) != size or not count or _digest(first, count, body) != digest:
        return None
    return first, count, body


def _digest(first: int, count: int, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(_HEAD.pack(_MAGIC, first, count, len(body), b""))
    digest.update(body)
    return digest.digest()


def _frame(entries: Sequence[Entry]) -> bytes:
    parts: list[bytes] = []
    for entry in entries:
        brings, data = _brings(entry)
        parts += (_ENTRY.pack(len(entry.data), len(brings), len(data)), entry.data, brings, data)
    body = b"".join(parts)
    first, count = entries[0].event.seq, len(entries)
    return _HEAD.pack(_MAGIC, first, count, len(body), _digest(first, count, body)) + body


def _brings(entry: Entry) -> tuple[bytes, bytes]:
    """What comes with an event: JSON, and the data of its payload."""
    payload = entry.payload
    if payload is None and not entry.erases:
        return b"", b""
    row = payload and [payload.id, payload.tenant, payload.key, payload.size]
    return json.dumps([row, list(entry.erases)]).encode(), payload.data if payload else b""


def _entries(body: memoryview, where: str) -> Iterator[Entry]:
    """Raises IntegrityError if a body whose digest fits holds something else: no runtime has written that."""
    at = 0
    try:
        while at < len(body):
            sizes = _ENTRY.unpack_from(body, at)
            at += _ENTRY.size
            parts = []
            for size in sizes:
                parts.append(bytes(body[at : at + size]))
                at += size
            yield _entry(*parts)
    except (ValueError, TypeError, KeyError, AttributeError, struct.error):
        raise IntegrityError("the journal holds what is no event", where, RESTORE) from None


def _entry(told: bytes, brings: bytes, data: bytes) -> Entry:
    event = Event.parse(told)
    if event.canonical() != told:
        raise ValueError("these bytes are not canonical")
    row, erases = json.loads(brings) if brings else (None, ())
    payload = None
    if row:
        id, tenant, key, size = row
        if not all(type(each) is str for each in (id, tenant, key)) or type(size) is not int:
            raise ValueError("this is no row of the archive")
        payload = Payload(id, tenant, key, size, data)
    if not all(type(id) is str for id in erases):
        raise ValueError("these are no ids")
    return Entry(event, told, sha256(told), payload, erases)


def _made(path: Path) -> int:
    """A new file, whatever was there: a link, say, or a second name of one that is kept elsewhere."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _content(path: Path) -> bytes:
    """What is in a segment; nothing if it is not there. Raises OSError also if it is no plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        return file.read()

"""The archive: prompts, arguments and results, each stored once, compressed, under an id that tells nothing.

An id is a keyed digest, so that nobody without the key can test a guess against it. The key never enters the database.
Nothing in here is logged.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import zstandard

from store.ledger.errors import Unstorable
from store.records.canonical import Json, canonical, parse
from store.records.errors import IntegrityError, SettingsError

LIMIT = 64 * 2**20
"""The largest payload, in bytes of canonical JSON. Reading never allocates more."""

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Payload:
    """A row of the archive. `size` is of the canonical JSON, `data` is that JSON compressed with zstd."""

    id: str
    tenant: str
    size: int
    data: bytes

    @property
    def row(self) -> tuple[str, str, int, bytes]:
        """In the order of PAYLOAD_COLUMNS."""
        return self.id, self.tenant, self.size, self.data


class Archive:
    """Turns values into payloads and back. Safe from any thread."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def pack(self, tenant: str, value: Json) -> Payload:
        """The payload of a JSON value. Raises Unstorable if it is not JSON or too large."""
        try:
            data = canonical(value)
        except (ValueError, RecursionError) as error:
            raise Unstorable(f"the payload is not JSON that can be kept: {type(error).__name__}") from None
        if len(data) > LIMIT:
            raise Unstorable(
                f"the payload has {len(data):,} bytes, the limit is {LIMIT:,}", do="store a reference to it"
            )
        # A compressor belongs to one thread; making one costs less than sharing it would.
        return Payload(self._id(tenant, data), tenant, len(data), zstandard.ZstdCompressor().compress(data))

    def unpack(self, payload: Payload) -> Json:
        """The value of a row. Raises IntegrityError if the row is not what was stored under its id."""
        try:
            if payload.size > LIMIT or zstandard.frame_content_size(payload.data) != payload.size:
                raise IntegrityError(f"payload {payload.id} has another size than was recorded")
            data = zstandard.ZstdDecompressor().decompress(payload.data)
        except zstandard.ZstdError:
            raise IntegrityError(f"payload {payload.id} cannot be decompressed") from None
        if not hmac.compare_digest(self._id(payload.tenant, data).encode(), payload.id.encode()):
            raise IntegrityError(f"payload {payload.id} is not what was recorded under this id")
        return parse(data)

    def _id(self, tenant: str, data: bytes) -> str:
        # A tenant's name holds no NUL (the sealer refuses it), so name and bytes cannot run into each other.
        return hmac.new(self._key, tenant.encode() + b"\0" + data, hashlib.sha256).hexdigest()


def read_key(path: Path) -> bytes:
    """The key in a file. Raises IntegrityError if it is missing or damaged, SettingsError if others can read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError("the payload key can be read by others", str(path), f"chmod 600 {path}")
        key = path.read_bytes()
    except FileNotFoundError:
        raise IntegrityError("the payload key is missing", str(path), "restore it from a backup") from None
    except PermissionError:
        raise SettingsError("the payload key cannot be read", str(path), "run as the user that owns it") from None
    if len(key) != KEY_BYTES:
        raise IntegrityError("the payload key is damaged", str(path), "restore it from a backup")
    return key


def make_key(path: Path) -> bytes:
    """A fresh random key, on disk before it is used. Never replaces one."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    key = secrets.token_bytes(KEY_BYTES)
    # Written aside and linked into place: a crash leaves either no key or a whole one.
    aside = path.with_suffix(f".{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, path)
    finally:
        aside.unlink()
    for folder in (path.parent, path.parent.parent):
        sync_folder(folder)
    return key


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The archive: prompts, arguments and results, each stored once, compressed, under an id that tells nothing.

An id is a keyed digest, so that nobody without the key can test a guess against it. The key never enters the database.
Nothing in here is logged.
"""

import hashlib
import hmac
from dataclasses import dataclass

import zstandard

from store.ledger.errors import Unstorable
from store.records.canonical import Json, canonical, parse
from store.records.errors import IntegrityError

LIMIT = 64 * 2**20
"""The largest payload, in bytes of canonical JSON. Reading never allocates more."""


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
    """Turns values into payloads and back, under a key of 32 bytes. Safe from any thread."""

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

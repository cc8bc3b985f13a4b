"""The archive: prompts, arguments and results, each stored once for its owner: compressed, and encrypted.

An id is a digest under a key that follows from the owner's data key, so nobody without that key can test a guess
against it, and what two owners have said alike stands there twice: destroying one's leaves the other's. Nothing in here
is logged, and nothing is written that is not encrypted.
"""

import threading
from dataclasses import dataclass

import zstandard

from store.keys.cipher import Unopened
from store.keys.keystore import Keystore
from store.keys.scope import Owner
from store.ledger.errors import Unstorable
from store.records.canonical import Json, canonical, parse
from store.records.errors import IntegrityError

LIMIT = 64 * 2**20
"""The largest payload, in bytes of canonical JSON. Reading never allocates more."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A row of the archive. `size` is of the canonical JSON; `data` is that JSON, compressed with zstd and encrypted
    with AES-256-GCM under what follows from the data key `key`."""

    id: str
    tenant: str
    key: str
    size: int
    data: bytes

    @property
    def row(self) -> tuple[str, str, str, int, bytes, int]:
        """In the order of PAYLOAD_COLUMNS."""
        return self.id, self.tenant, self.key, self.size, self.data, place(self.id)


def place(id: str) -> int:
    """Where the index has the payload of this id: its first 64 bits, as a signed number. 0 for what is no id."""
    try:
        return int.from_bytes(bytes.fromhex(id[:16]), "big", signed=True)
    except ValueError:
        return 0


class Archive:
    """Turns values into payloads and back, under the keys of a keystore. Safe from any thread."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore
        self._at_hand = threading.local()

    def pack(self, owner: Owner, value: Json) -> Payload:
        """The payload of a JSON value. Raises Unstorable if it is not JSON or too large, and what the keystore raises
        if it has no key for this owner and cannot make one."""
        try:
            data = canonical(value)
        except (ValueError, RecursionError) as error:
            raise Unstorable(f"the payload is not JSON that can be kept: {type(error).__name__}") from None
        if len(data) > LIMIT:
            raise Unstorable(
                f"the payload has {len(data):,} bytes, the limit is {LIMIT:,}", do="store a reference to it"
            )
        key = self._keystore.key_for(owner)
        id = key.name(data)
        sealed = key.seal(id, self._compressor().compress(data))
        return Payload(id, owner.tenant, key.record.id, len(data), sealed)

    def unpack(self, payload: Payload) -> Json:
        """The value of a row. Raises IntegrityError if the row is not what was stored under its id, and what the
        keystore raises if the key is not to be had: Locked, Shredded."""
        key = self._keystore.key(payload.key)
        try:
            compressed = key.unseal(payload.id, payload.data)
            if payload.size > LIMIT or zstandard.frame_content_size(compressed) != payload.size:
                raise IntegrityError(f"payload {payload.id} has another size than was recorded")
            data = zstandard.ZstdDecompressor().decompress(compressed)
        except (Unopened, zstandard.ZstdError):
            raise IntegrityError(
                f"payload {payload.id} is not what was recorded under this id: exchanged or damaged"
            ) from None
        return parse(data)

    def encrypt(self, owner: Owner, id: str, size: int, compressed: bytes, *, damaged: bool) -> Payload:
        """The payload that version 0.1 stored under this id, as it is stored now. One that is damaged stays so: it does
        not open."""
        key = self._keystore.key_for(owner)
        return Payload(id, owner.tenant, key.record.id, size, key.seal("" if damaged else id, compressed))

    def _compressor(self) -> zstandard.ZstdCompressor:
        """This thread's own: a compressor belongs to one thread, and making one takes longer than a payload does."""
        found: zstandard.ZstdCompressor | None = getattr(self._at_hand, "compressor", None)
        if found is None:
            found = self._at_hand.compressor = zstandard.ZstdCompressor()
        return found

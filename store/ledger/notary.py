"""The notary: keeps the tree over the events and signs checkpoints of it. Belongs to the mirror thread.

A checkpoint names the number of events and the root over them: whoever holds one can show later that something before
it was changed or cut off. It is a signed note as C2SP has it (signed-note, tlog-checkpoint) with an Ed25519 key. The
log's origin is taken from its first event, so no two ledgers have the same.
"""

import base64
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from store.ledger.tree import Tile, Tree
from store.verify import Checkpoint, Key, leaf_hash

INTERVAL_S = 5.0
"""The longest that an event on disk waits for a checkpoint, in seconds."""


class Notary:
    """Signs what `tree` holds with the Ed25519 key `secret`, 32 bytes; `signed` is the size of the last checkpoint."""

    def __init__(self, tree: Tree, secret: bytes, first: str, signed: int) -> None:
        """`first` is the hash of the log's first event, in hex; empty if there is none yet."""
        self.tree = tree
        self._secret = Ed25519PrivateKey.from_private_bytes(secret)
        self._first = first
        self._signed = signed
        self._since = time.monotonic()

    def enter(self, data: bytes, digest: str) -> list[Tile]:
        """Add an event, its canonical bytes and their hash, to the tree. Returns the tiles that are full now."""
        if not self._first:
            self._first = digest
        if self._signed == self.tree.size:
            self._since = time.monotonic()
        return self.tree.append(leaf_hash(data))

    def due_s(self) -> float | None:
        """Seconds until a checkpoint is due, 0 if it is; None while all is signed."""
        if self._signed == self.tree.size:
            return None
        return max(0.0, self._since + INTERVAL_S - time.monotonic())

    def sign(self) -> tuple[int, str]:
        """A checkpoint over all: its size, and the signed note."""
        key = Key(origin(self._first), self._secret.public_key().public_bytes_raw())
        text = str(Checkpoint(key.name, self.tree.size, self.tree.root()))
        signature = base64.b64encode(key.id + self._secret.sign(text.encode())).decode()
        self._signed = self.tree.size
        return self._signed, f"{text}\n\u2014 {key.name} {signature}\n"


def public_key(secret: bytes) -> bytes:
    """The 32 bytes that check what is signed with this Ed25519 key."""
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def origin(first: str) -> str:
    """The name of the log whose first event has this hash, in hex."""
    return f"bailiwick/ledger/{first[:32]}"

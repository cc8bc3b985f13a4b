"""The tree over all events: what makes a proof short, and a change anywhere before a checkpoint plain.

The Merkle tree of RFC 6962, kept in tiles of 256 hashes as C2SP's tlog-tiles has them: tile n of level 0 holds the
hashes of leaves 256n to 256n+255, and each tile of a level is one entry of the level above. Only full tiles are stored,
for they never change; what is in none yet is held here and computed anew at start. Leaf i is event i+1.
"""

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from store.verify import HASH_BYTES, Peaks, node_hash

WIDTH = 256
"""Hashes of a tile; a power of two."""
_BITS = 8
TOGETHER = 16
"""Tiles that are read at once: a query takes most of its time for the first."""
KEPT = 64
"""Such reads kept in memory for proofs, 128 KiB each."""


class Tile(NamedTuple):
    """A full tile: its level, its number in the level, the root over its hashes, and these, 8 KiB."""

    level: int
    number: int
    root: bytes
    data: bytes


class Tree:
    """Grows by one thread, is asked by any. `load` gives the data of full tiles: of a level, from a number, so many."""

    def __init__(self, load: Callable[[int, int, int], list[bytes]], tails: Sequence[Sequence[bytes]] = ()) -> None:
        """A tree whose hashes beyond its full tiles are `tails`, by level from the lowest."""
        self._growing = threading.Lock()
        self._tails = [list(tail) for tail in tails] or [[]]
        self._peaks = Peaks()
        for level in range(len(self._tails) - 1, -1, -1):
            for entry in self._tails[level]:
                self._peaks.append(entry, level * _BITS)
        self._load = lru_cache(KEPT)(load)
        # What is complete never changes: siblings on the way up are those of many proofs.
        self._complete = lru_cache(256 * KEPT)(self._computed)
        self._fresh: dict[tuple[int, int], bytes] = {}

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return self._peaks.size

    def append(self, leaf: bytes) -> list[Tile]:
        """Add the hash of a leaf. Returns the tiles that are full now, to be stored; `stored` says that they are."""
        full: list[Tile] = []
        with self._growing:
            for height, root in self._peaks.append(leaf):
                level, inside = divmod(height, _BITS)
                if inside:
                    continue
                if level == len(self._tails):
                    self._tails.append([])
                if height:
                    data = b"".join(self._tails[level - 1])
                    number = (self.size >> height) - 1
                    full.append(Tile(level - 1, number, root, data))
                    self._fresh[level - 1, number] = data
                    self._tails[level - 1].clear()
                self._tails[level].append(root)
        return full

    def stored(self) -> None:
        """All tiles that became full are where `load` finds them."""
        with self._growing:
            self._fresh.clear()

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves; of all, if not given."""
        if size is None:
            with self._growing:
                return self._peaks.root()
        peaks = Peaks()
        while peaks.size < size:
            height = (size - peaks.size).bit_length() - 1
            peaks.append(self._complete(height, peaks.size >> height), height)
        return peaks.root()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that leaf `index` is among the first `size`: PATH of RFC 6962, 2.1.1. Raises IndexError."""
        if not 0 <= index < size <= self.size:
            raise IndexError(f"leaf {index} of {size} in a tree of {self.size}")
        start, end, path = 0, size, []
        while end - start > 1:
            middle = start + _left(end - start)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `new` leaves begin with the first `old`: PROOF of RFC 6962, 2.1.2."""
        if not 0 <= old <= new <= self.size:
            raise IndexError(f"from {old} to {new} leaves in a tree of {self.size}")
        if old in (0, new):
            return []
        start, end, path, whole = 0, new, [], True
        while end != old:
            middle = start + _left(end - start)
            if old <= middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start, whole = middle, False
        if not whole:
            path.append(self._range(start, end))
        return path[::-1]

    def _range(self, start: int, end: int) -> bytes:
        """The root over leaves start to end (exclusive), where start is one at which a subtree of that size begins."""
        size = end - start
        left = _left(size) if size > 1 else 1
        if size in (1, 2 * left):
            height = size.bit_length() - 1
            return self._complete(height, start >> height)
        return node_hash(self._range(start, start + left), self._range(start + left, end))

    def _computed(self, height: int, number: int) -> bytes:
        """The root of the complete subtree of 2**height leaves with this number."""
        level, inside = divmod(height, _BITS)
        return _over(self._entries(level, number << inside, 1 << inside))

    def _entries(self, level: int, first: int, count: int) -> bytes:
        """Hashes of a level, all within one tile, one after the other."""
        number, offset = divmod(first, WIDTH)
        with self._growing:
            if number == (self.size >> (level * _BITS)) // WIDTH:
                return b"".join(self._tails[level][offset : offset + count])
            data = self._fresh.get((level, number))
            begin = number - number % TOGETHER
            whole = (self.size >> (level * _BITS)) // WIDTH >= begin + TOGETHER and not self._fresh
        if data is None:
            data = self._load(level, begin, TOGETHER)[number - begin] if whole else self._load(level, number, 1)[0]
        return data[offset * HASH_BYTES : (offset + count) * HASH_BYTES]


def _over(row: bytes) -> bytes:
    """The root over a power of two of hashes, one after the other."""
    while len(row) > HASH_BYTES:  # `node_hash` of each pair, without taking it apart
        pairs = (row[at : at + 2 * HASH_BYTES] for at in range(0, len(row), 2 * HASH_BYTES))
        row = b"".join([sha256(b"\x01" + pair).digest() for pair in pairs])
    return row


def _left(size: int) -> int:
    """The largest power of two below a size above 1: where RFC 6962 splits."""
    return 1 << (size - 1).bit_length() - 1

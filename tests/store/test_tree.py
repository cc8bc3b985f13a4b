"""The tree against the definitions of RFC 6962, written down a second time, and against another implementation."""

import hashlib
import random

import pymerkle
import pytest

from store.ledger.tree import TOGETHER, WIDTH, Tile, Tree
from store.verify import (
    EMPTY,
    HASH_BYTES,
    Invalid,
    Peaks,
    Tiles,
    check_consistency,
    check_inclusion,
    leaf_hash,
    tile_path,
)

LEAVES = [leaf_hash(str(number).encode()) for number in range(3 * WIDTH + 5)]
SIZES = [1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 600, len(LEAVES)]


def root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root(leaves[:left]) + root(leaves[left:])).digest()


def apart(row: bytes) -> list[bytes]:
    """Its hashes."""
    return [row[at : at + HASH_BYTES] for at in range(0, len(row), HASH_BYTES)]


class Grown:
    """A tree, and the tiles that it gave to be stored."""

    def __init__(self, count: int = 0) -> None:
        self.tiles: dict[tuple[int, int], Tile] = {}
        self.tree = Tree(self.load)
        self.grow(count)

    def load(self, level: int, first: int, count: int) -> list[bytes]:
        return [self.tiles[level, number].data for number in range(first, first + count)]

    def grow(self, count: int) -> None:
        for number in range(count):
            for tile in self.tree.append(LEAVES[number % len(LEAVES)]):
                self.tiles[tile.level, tile.number] = tile
        self.tree.stored()


@pytest.fixture(scope="module")
def grown() -> Grown:
    return Grown(len(LEAVES))


def test_a_tree_without_leaves() -> None:
    tree = Grown().tree
    assert tree.size == 0
    assert tree.root() == EMPTY == hashlib.sha256(b"").digest()
    with pytest.raises(IndexError):
        tree.inclusion(0, 0)


@pytest.mark.parametrize("size", SIZES)
def test_roots_are_those_of_the_definition(grown: Grown, size: int) -> None:
    assert grown.tree.root(size) == Grown(size).tree.root() == root(LEAVES[:size])


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_is_proved_and_nothing_else(grown: Grown, size: int) -> None:
    top = grown.tree.root(size)
    for index in {0, size - 1, size // 2, *random.Random(size).choices(range(size), k=20)}:
        path = grown.tree.inclusion(index, size)
        check_inclusion(LEAVES[index], index, size, path, top)
        for wrong in ([*path, path[0]] if path else [top], path[1:] if path else [top], [*path[::-1], top]):
            with pytest.raises(Invalid):
                check_inclusion(LEAVES[index], index, size, wrong, top)
        for leaf, at, count in (
            (LEAVES[index - 1], index, size),
            (LEAVES[index], size, size),
            (LEAVES[index], -1, size),
        ):
            if (leaf, at) != (LEAVES[index], index):
                with pytest.raises(Invalid):
                    check_inclusion(leaf, at, count, path, top)


@pytest.mark.parametrize("new", SIZES)
def test_growth_is_proved_and_nothing_else(grown: Grown, new: int) -> None:
    top = grown.tree.root(new)
    for old in {0, 1, new, *random.Random(new).choices(range(new + 1), k=20)}:
        before = grown.tree.root(old) if old else EMPTY
        path = grown.tree.consistency(old, new)
        check_consistency(old, before, new, top, path)
        with pytest.raises(Invalid):
            check_consistency(old, bytes(32), new, top, path)
        with pytest.raises(Invalid):
            check_consistency(old, before, new, top, [*path, top])
        if path:
            with pytest.raises(Invalid):
                check_consistency(old, before, new, bytes(32), path)
            with pytest.raises(Invalid):
                check_consistency(old, before, new, top, path[:-1])
    with pytest.raises(Invalid):
        check_consistency(new + 1, top, new, top, [])


def test_another_implementation_agrees(grown: Grown) -> None:
    other = pymerkle.InmemoryTree(algorithm="sha256")
    other.append_entries(str(number).encode() for number in range(600))
    for size in (1, 2, 255, 256, 257, 600):
        assert other.get_root(size) == grown.tree.root(size)
        for index in {0, size // 2, size - 1}:
            path = [LEAVES[index], *grown.tree.inclusion(index, size)]
            assert other.prove_inclusion(index + 1, size).path == path


def test_three_levels_of_tiles_and_a_new_start() -> None:
    count = WIDTH * WIDTH + WIDTH + 3
    before = Grown(count)
    assert {tile.level for tile in before.tiles.values()} == {0, 1}
    ends = ((0, WIDTH * WIDTH + WIDTH, 3), (1, WIDTH, 1), (2, 0, 1))
    tails = [apart(before.tree._entries(level, first, number)) for level, first, number in ends]
    after = Tree(before.load, tails)
    assert (after.size, after.root()) == (count, before.tree.root())
    for index in (0, WIDTH * WIDTH - 1, WIDTH * WIDTH, count - 1):
        check_inclusion(LEAVES[index % len(LEAVES)], index, count, after.inclusion(index, count), after.root())
    check_consistency(1000, after.root(1000), count, after.root(), after.consistency(1000, count))


def test_neighbouring_tiles_are_read_together_and_once() -> None:
    grown = Grown((TOGETHER + 2) * WIDTH + 3)
    size, load = grown.tree.size, grown.load
    asked: list[tuple[int, int, int]] = []

    def noted(level: int, first: int, count: int) -> list[bytes]:
        asked.append((level, first, count))
        return load(level, first, count)

    ends = ((0, (TOGETHER + 2) * WIDTH, 3), (1, 0, TOGETHER + 2))
    tree = Tree(noted, [apart(grown.tree._entries(*end)) for end in ends])
    chance = random.Random(5)
    for index in [0, size - 1, *(chance.randrange(size) for _ in range(200))]:
        leaf = LEAVES[index % len(LEAVES)]
        check_inclusion(leaf, index, size, tree.inclusion(index, size), tree.root(size))
    assert (0, 0, TOGETHER) in asked
    assert len(asked) == len(set(asked)) <= 4


def test_tiles_that_are_exported_are_those_of_the_ledger(grown: Grown) -> None:
    peaks, tiles = Peaks(), Tiles()
    full = dict(pair for leaf in LEAVES for pair in tiles.add(peaks.append(leaf)))
    assert full == {tile_path(tile.level, tile.number): tile.data for tile in grown.tiles.values()}
    above = b"".join(tile.root for tile in grown.tiles.values())
    assert dict(tiles.rest()) == {"0/003.p/5": b"".join(LEAVES[3 * WIDTH :]), "1/000.p/3": above}


@pytest.mark.parametrize(
    ("number", "path"),
    [(0, "0/000"), (999, "0/999"), (1000, "0/x001/000"), (1_234_067, "0/x001/x234/067")],  # the last is C2SP's own
)
def test_tiles_have_the_paths_of_the_specification(number: int, path: str) -> None:
    assert tile_path(0, number) == path
    assert tile_path(1, number, 7) == f"1{path[1:]}.p/7"

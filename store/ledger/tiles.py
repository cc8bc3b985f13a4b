"""The tree's rows: full tiles as they are stored, and the tree as it stood when the ledger was closed."""

from store.ledger.reader import DAMAGE, Reader, read_event
from store.ledger.tree import WIDTH, Tile, Tree
from store.records.errors import IntegrityError
from store.verify import HASH_BYTES, leaf_hash

PAGE = 2000
"""Events in memory at a time."""


def load(reader: Reader, level: int, first: int, count: int) -> list[bytes]:
    """The hashes of so many full tiles. Raises IntegrityError if one is not stored, or has another length."""
    query = "SELECT number, data FROM tiles WHERE level = ? AND number >= ? AND number < ? ORDER BY number"
    found = dict(reader.rows(query, level, first, first + count))
    for number in range(first, first + count):
        if len(found.get(number) or b"") != WIDTH * HASH_BYTES:
            raise IntegrityError(f"tile {number} of level {level} is missing", do=DAMAGE)
    return [bytes(data) for data in found.values()]


def resume(reader: Reader) -> tuple[Tree, list[Tile]]:
    """The tree over all committed events, and its tiles that are not stored yet: an earlier version stored none.

    Raises IntegrityError if an event is missing after the last tile, or is not what was recorded: whoever signs the
    tree signs it.
    """
    counts = dict(reader.rows("SELECT level, count(*) FROM tiles GROUP BY level ORDER BY level"))
    if any(counts.get(level + 1, 0) != count // WIDTH for level, count in counts.items()) or list(counts) != [
        *range(len(counts))
    ]:
        raise IntegrityError("tiles of the tree are missing", do=DAMAGE)
    tails: list[list[bytes]] = [[]]
    for level in counts:
        first = counts.get(level + 1, 0) * WIDTH
        roots = reader.rows("SELECT root FROM tiles WHERE level = ? AND number >= ? ORDER BY number", level, first)
        tails.append([bytes(row[0] or b"") for row in roots])
    tree = Tree(lambda *asked: load(reader, *asked), tails)
    tiles: list[Tile] = []
    query = f"FROM events WHERE seq > ? ORDER BY seq LIMIT {PAGE}"
    while page := reader.rows(query, tree.size):
        for event in map(read_event, page):
            if event.seq != tree.size + 1:
                raise IntegrityError(f"event {tree.size + 1} is missing", do=DAMAGE)
            tiles += tree.append(leaf_hash(event.canonical()))
    return tree, tiles

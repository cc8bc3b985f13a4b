"""The tree's rows: full tiles as they are stored, and the tree as it stood when the ledger was closed."""

from store.ledger.reader import Reader
from store.ledger.tree import WIDTH, Tile, Tree
from store.records.errors import IntegrityError
from store.verify import HASH_BYTES, leaf_hash

PAGE = 2000
"""Events in memory at a time."""
DAMAGE = "`bailiwick audit verify` names all damage"


def load(reader: Reader, level: int, number: int) -> bytes:
    """The hashes of a full tile. Raises IntegrityError if it is not stored, or has another length."""
    found = reader.rows("SELECT data FROM tiles WHERE level = ? AND number = ?", level, number)
    if not found or len(found[0][0] or b"") != WIDTH * HASH_BYTES:
        raise IntegrityError(f"tile {number} of level {level} is missing", do=DAMAGE)
    return bytes(found[0][0])


def resume(reader: Reader) -> tuple[Tree, list[Tile]]:
    """The tree over all committed events, and its tiles that are not stored yet: an earlier version stored none.

    Raises IntegrityError if an event is missing after the last tile.
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
    tree = Tree(lambda level, number: load(reader, level, number), tails)
    tiles: list[Tile] = []
    query = f"SELECT seq, bytes FROM events WHERE seq > ? ORDER BY seq LIMIT {PAGE}"
    while page := reader.rows(query, tree.size):
        for seq, data in page:
            if seq != tree.size + 1:
                raise IntegrityError(f"event {tree.size + 1} is missing", do=DAMAGE)
            tiles += tree.append(leaf_hash(data))
    return tree, tiles

"""A strict model of llama.cpp's unified KV memory: it refuses what would end the real process or give wrong answers.

A cell knows its token and a digest of all that stands up to it, the space included: the vectors in a real cell depend
on just that. So a cell that was shared with the wrong sequence, at the wrong place or across spaces is found as soon as
a token is computed on top of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.engine.sequence import Sequence as Tokens
from models.engine.sequence import Slice


@dataclass(slots=True, eq=False)
class Cell:
    token: int
    digest: int
    holders: set[int] = field(default_factory=set)


def digest(before: int, token: int) -> int:
    return hash((before, token))


def root(space: str) -> int:
    return hash(tuple(space.encode()))


def digests(space: str, tokens: Sequence[int]) -> list[int]:
    """What the cells of tokens must hold, from the first on."""
    found: list[int] = []
    for token in tokens:
        found.append(digest(found[-1] if found else root(space), token))
    return found


class KvMemory:
    """A memory of `cells` cells. Ids below `slots` can be computed, those up to `ids` can only hold."""

    def __init__(self, cells: int, slots: int, ids: int, batch: int = 512) -> None:
        self.cells, self.slots, self.batch = cells, slots, batch
        self.computed = 0
        """Tokens computed since the beginning."""
        self.used = 0
        """How many cells are in use."""
        self.parked = 0
        """How many cells the ids hold that cannot be computed, summed over these ids."""
        self._held: list[dict[int, Cell]] = [{} for _ in range(ids)]
        self._expected: dict[Tokens, list[int]] = {}

    def share(self, source: int, target: int, start: int, end: int) -> None:
        assert source != target
        assert 0 <= start < end
        for position in range(start, end):
            self._hold(target, position, self._held[source][position])

    def drop(self, sequence: int, start: int, end: int) -> None:
        assert start >= 0
        held = self._held[sequence]
        for position in [each for each in held if each >= start and (end < 0 or each < end)]:
            cell = held.pop(position)
            cell.holders.remove(sequence)
            self.used -= not cell.holders
            self.parked -= sequence >= self.slots

    def forget(self) -> None:
        """Loses everything, as llama_memory_clear does."""
        self.used = self.parked = 0
        for held in self._held:
            held.clear()

    def restore(self, sequence: int, space: str, tokens: Sequence[int]) -> None:
        """Puts back what an id that holds nothing has held, as llama_state_seq_set_data does."""
        assert len(tokens) <= self.cells - self.used
        assert not self._held[sequence]
        for position, (token, each) in enumerate(zip(tokens, digests(space, tokens), strict=True)):
            self._hold(sequence, position, Cell(token, each))

    def compute(self, parts: Sequence[Slice]) -> None:
        """Computes slices as llama_decode does, after the checks that it leaves out."""
        assert parts
        assert sum(len(part.tokens) for part in parts) <= min(self.batch, self.cells - self.used)
        assert len({part.sequence.slot for part in parts}) == len(parts), "a slot has two slices"
        for part in parts:
            self._compute(part)

    def _compute(self, part: Slice) -> None:
        sequence = part.sequence
        assert 0 <= sequence.slot < self.slots
        assert part.tokens
        assert 0 <= part.outputs <= len(part.tokens)
        assert part.tokens == (sequence.tokens + sequence.draft)[part.start : part.end]
        self.check(sequence, part.start)
        last = self.digest(sequence, part.start)
        for position, token in enumerate(part.tokens, part.start):
            last = digest(last, token)
            self._hold(sequence.slot, position, Cell(token, last))
        self.computed += len(part.tokens)

    def check(self, sequence: Tokens, end: int) -> None:
        """Fails unless the slot of a sequence holds the cells of just its tokens up to `end`."""
        held, expected = self._held[sequence.slot], self._expected.setdefault(sequence, [])
        for token in sequence.tokens[len(expected) : end]:
            expected.append(digest(expected[-1] if expected else root(sequence.space), token))
        assert len(held) == end
        assert [held[position].digest for position in range(end)] == expected[:end]

    def held(self, sequence: int) -> int:
        """How many cells an id holds."""
        return len(self._held[sequence])

    def digest(self, sequence: Tokens, end: int) -> int:
        """What the slot of a sequence holds up to `end`: all that may decide what follows there."""
        return self._held[sequence.slot][end - 1].digest if end else root(sequence.space)

    def _hold(self, sequence: int, position: int, cell: Cell) -> None:
        assert position not in self._held[sequence], f"id {sequence} has a cell at {position} already"
        self._held[sequence][position] = cell
        self.used += not cell.holders
        self.parked += sequence >= self.slots
        cell.holders.add(sequence)

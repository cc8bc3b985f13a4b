"""Decides what each step computes: continuous batching with chunked prefill, priorities and preemption.

Iteration-level scheduling as in Orca (Yu et al., OSDI 2022), prompts in chunks beside running answers as in
Sarathi-Serve (Agrawal et al., OSDI 2024), preemption by recomputation as in vLLM (Kwon et al., SOSP 2023). A step takes
one token of every running answer, then the tokens that grammars forced, then pieces of prompts, all in one batch. It
knows tokens and cells, and nothing of models, grammars or clocks.

What it promises: an admitted sequence always finishes. The first in rank can take the cells of all others, who start
again when there is room; and since waiting counts as priority, everyone comes to be the first.
"""

from collections.abc import Iterable

import numpy as np

from models.engine.prefix_tree import Cells, PrefixTree, common
from models.engine.sequence import Sequence, Slice

AGEING_S = 5.0
"""Seconds of waiting that count as much as one more of priority."""
WORTH_WAITING = 32
"""Tokens that another is just computing and that are worth waiting for, rather than computing them twice."""
CROWD = 8
"""Sequences beyond which time passes more slowly for what is parked."""
HEADROOM = 16
"""Cells that a sequence must find free beyond its prompt when it starts, so that it is not preempted at once."""


class Scheduler:
    """The sequences of one context of `size` KV cells. `slots` are the sequence ids that can run."""

    def __init__(self, cells: Cells, tree: PrefixTree, size: int, slots: Iterable[int], batch: int) -> None:
        """`batch` is the most tokens of one step; it must not be below the number of slots."""
        self._cells, self._tree, self._size, self._batch = cells, tree, size, batch
        self._slots = list(slots)
        self.waiting: list[Sequence] = []
        self.active: list[Sequence] = []
        self.preempted = 0
        """How often a sequence lost its cells to another."""

    @property
    def used(self) -> int:
        """KV cells in use, parked prefixes included."""
        return self._tree.tokens + sum(each.private for each in self.active)

    @property
    def _spare(self) -> int:
        """KV cells that can be had without preempting anyone."""
        return self._size - self.used + self._tree.tokens - self._tree.pinned

    def add(self, sequence: Sequence) -> None:
        """Puts a sequence in the queue. The whole of it must fit the memory: nothing else is ever refused."""
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forgets a sequence, finished or given up, and frees its cells at once."""
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        if sequence in self.active:
            self.active.remove(sequence)
            self._release(sequence)

    def schedule(self, prefill: int, tail: int = 0) -> list[Slice]:
        """What to compute next; empty if there is nothing to do. `prefill` is the most tokens of prompts it may take.

        Every active sequence has one slice at most. The step may have up to `tail` tokens more, even beyond the batch,
        if that ends a prompt, whose last few would take a step of their own.
        """
        self._admit()
        self.active.sort(key=_rank)
        granted: dict[Sequence, int] = {}
        room = self._batch
        running = [each for each in self.active if each.running]
        for each in running:
            room -= self._grant(each, 1, granted)
        for each in running:
            room -= self._grant(each, min(room, each.pending - 1), granted)
        for each in running:
            # Nobody is preempted for a guess.
            if each.draft:
                room -= self._grant(each, min(room, len(each.draft), self._spare), granted)
        room = min(room, prefill)
        for each in [each for each in self.active if not each.running]:
            if room > 0:
                room -= self._grant(each, each.pending if each.pending <= room + tail else room, granted)
        # The more there are at once, the more is computed between two turns of one agent.
        self._tree.age(sum(granted.values()) * CROWD // max(CROWD, len(self.active) + len(self.waiting)))
        return [_slice(each, count) for each, count in granted.items() if count]

    def computed(self, part: Slice, end: int) -> None:
        """Takes note that a slice was computed and that its tokens are right up to position `end`.

        What the sequence now has of its prompt is parked, so that others need not compute it.
        """
        each = part.sequence
        if end < part.end:
            self._cells.drop(each.slot, end, part.end)
            each.private -= part.end - end
        before, each.computed = each.computed, end
        if before < each.keep:
            self._park(each, min(end, each.keep))
        each.running = each.running or part.whole

    def park(self, each: Sequence) -> None:
        """Parks what a finished sequence has computed, its answer too: the next prompt may hold that."""
        self._park(each, each.computed if each.keep == each.prompt else min(each.computed, each.keep))

    def seat(self, each: Sequence) -> bool:
        """Gives a sequence a slot and the cells for its prompt, to restore its state; False if there is no room now."""
        if not self._slots or not self._make_room(each.prompt):
            return False
        each.slot, each.private = self._slots.pop(), each.prompt
        each.stand = self._tree.attach(each.space, each.array[:0], each.slot)
        self.active.append(each)
        return True

    def trust(self, each: Sequence) -> None:
        """Keeps longer what a sequence has parked."""
        assert each.stand
        self._tree.trust(each.stand)

    def restart(self) -> None:
        """Begins all active sequences anew, after the memory was lost."""
        for each in list(self.active):
            self._preempt(each)
        self._tree.clear()

    def _admit(self) -> None:
        """Gives slots to the first in rank, but not to one whose prefix another is just computing."""
        self.waiting.sort(key=_rank)
        for each in list(self.waiting):
            if not self._slots:
                return
            if not self._follows(each) and not self._start(each):
                return

    def _follows(self, each: Sequence) -> bool:
        """Whether one that was admitted before is computing a prefix of this one's prompt."""
        if not self._tree.parks:
            return False
        leaders = [leader for leader in self.active if not leader.running and leader.space == each.space]
        shared = self._tree.match(each.space, each.shareable) if leaders else 0
        for leader in leaders:
            ahead = min(common(leader.array, each.shareable), leader.keep)
            if ahead > max(leader.computed, shared) and ahead - leader.reused >= WORTH_WAITING:
                return True
        return False

    def _start(self, each: Sequence) -> bool:
        """Makes a sequence active with what is parked of its prompt; False if there is no room for the rest."""
        slot = self._slots.pop()
        each.stand, each.slot = self._tree.attach(each.space, each.shareable, slot), slot
        given = each.stand.end
        promised = sum(other.pending for other in self.active)
        if self.active and not self._make_room(promised + each.pending - given + HEADROOM):
            self._release(each)
            return False
        self.waiting.remove(each)
        self.active.append(each)
        each.computed = given
        if not each.preempted:
            each.reused = given
            self._tree.trust(each.stand)
        return True

    def _grant(self, each: Sequence, count: int, granted: dict[Sequence, int]) -> int:
        """Gives a sequence up to `count` cells more, as far as there are; returns how many."""
        if each.slot < 0 or count <= 0:
            return 0
        while self._size - self.used < count and self._reclaim(each, granted):
            pass
        count = min(count, self._size - self.used)
        granted[each] = granted.get(each, 0) + count
        each.private += count
        return count

    def _reclaim(self, each: Sequence, granted: dict[Sequence, int]) -> bool:
        """Frees some cells for a sequence: a parked prefix first, else all those of the last in rank behind it."""
        if self._tree.evict():
            return True
        last = self.active[-1]
        if last is each:
            return False
        granted.pop(last, None)
        self._preempt(last)
        return True

    def _preempt(self, each: Sequence) -> None:
        self.active.remove(each)
        self._release(each)
        each.computed, each.running, each.draft = 0, False, []
        each.preempted = True
        self.preempted += 1
        self.waiting.append(each)

    def _release(self, each: Sequence) -> None:
        self._cells.drop(each.slot, 0, -1)
        self._slots.append(each.slot)
        assert each.stand
        self._tree.release(each.stand)
        each.slot, each.private, each.stand = -1, 0, None

    def _park(self, each: Sequence, end: int) -> None:
        assert each.stand
        before = each.stand.end
        tokens = each.array[:end] if end <= each.prompt else np.asarray(each.tokens[:end], np.int32)
        each.stand = self._tree.grow(tokens, each.slot, each.stand)
        each.private -= each.stand.end - before

    def _make_room(self, count: int) -> bool:
        """Sees to it that `count` cells are free; forgets no prefix if that is not enough."""
        if self._spare < count:
            return False
        while self._size - self.used < count:
            self._tree.evict()
        return True


def _rank(each: Sequence) -> tuple[float, int]:
    """Sorts the most urgent first. All age alike, so that the order of two never changes."""
    return each.arrived - each.priority * AGEING_S, each.number


def _slice(each: Sequence, count: int) -> Slice:
    """The next `count` tokens of a sequence, those of its draft last."""
    tokens = (each.tokens[each.computed :] + each.draft)[:count]
    outputs = each.computed + count - max(each.first_output, each.computed)
    return Slice(each, each.computed, tokens, max(0, outputs), max(0, count - each.pending), count >= each.pending)

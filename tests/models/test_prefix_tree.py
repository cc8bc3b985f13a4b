"""The tree of parked prefixes over a strict model of the KV memory."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.engine.prefix_tree import PATIENCE, SWEEP, TRUST, Node, PrefixTree, Tokens, common
from models.engine.sequence import Sequence, Slice
from tests.models.kv_memory import KvMemory

SLOTS = 4


def run(*tokens: int) -> Tokens:
    return np.array(tokens, np.int32)


class Bench:
    """Sequences that stand on a tree, as the scheduler places them there."""

    def __init__(self, parking: int = 16) -> None:
        self.memory = KvMemory(10_000, SLOTS, SLOTS + parking)
        self.tree = PrefixTree(self.memory, range(SLOTS, SLOTS + parking))
        self.stands: dict[Sequence, Node] = {}

    def begin(self, tokens: list[int], space: str = "") -> Sequence:
        """Attaches a sequence; `computed` tells how much it was given."""
        free = set(range(SLOTS)) - {each.slot for each in self.stands}
        each = Sequence(tokens, len(tokens), len(tokens), space, slot=min(free))
        self.stands[each] = self.tree.attach(space, each.array, each.slot)
        each.computed = self.stands[each].end
        self.tree.trust(self.stands[each])
        self.check()
        return each

    def compute(self, each: Sequence, end: int) -> None:
        """Computes and parks up to a position."""
        tokens = each.tokens[each.computed : end]
        if tokens:
            self.memory.compute([Slice(each, each.computed, tokens, 0, 0, False)])
        each.computed = end
        self.stands[each] = self.tree.grow(each.array[:end], each.slot, self.stands[each])
        self.check()

    def end(self, each: Sequence) -> None:
        self.memory.drop(each.slot, 0, -1)
        self.tree.release(self.stands.pop(each))
        self.check()

    def serve(self, tokens: list[int], space: str = "") -> int:
        """Runs a sequence from beginning to end; returns how much it was given."""
        each = self.begin(tokens, space)
        given = each.computed
        self.compute(each, len(tokens))
        self.end(each)
        return given

    def check(self) -> None:
        own = 0
        for each, stand in self.stands.items():
            self.memory.check(each, each.computed)
            assert stand.end <= each.computed
            own += each.computed - stand.end
        assert self.memory.parked == self.tree.tokens
        assert self.memory.used == self.tree.tokens + own, "each cell is the tree's or one sequence's own"
        # Only what a sequence stands on, and so holds itself, is pinned.
        assert self.tree.pinned <= sum(stand.end for stand in self.stands.values())


def test_common_beginnings() -> None:
    assert common(run(1, 2, 3), run(1, 2, 4)) == 2
    assert common(run(1, 2, 3), run(1, 2)) == 2
    assert common(run(1), run(2)) == 0
    assert common(run(), run(2)) == 0


def test_what_was_computed_is_given_to_the_next() -> None:
    bench = Bench()
    assert bench.serve([1, 2, 3, 4]) == 0
    assert bench.serve([1, 2, 3, 4]) == 4
    assert bench.serve([1, 2, 9]) == 2
    assert bench.serve([1, 2, 9, 9]) == 3
    assert bench.serve([2]) == 0
    assert bench.memory.computed == 4 + 0 + 1 + 1 + 1
    assert bench.tree.tokens == 7


def test_match_says_what_attach_gives() -> None:
    bench = Bench()
    bench.serve([1, 2, 3, 4])
    bench.serve([1, 2, 5, 6])
    for tokens in ([1, 2, 3], [1, 2, 3, 4, 5], [1, 3], [7], [1, 2, 5, 6]):
        matched = bench.tree.match("", run(*tokens))
        assert bench.serve(tokens) == matched


def test_nothing_is_given_to_another_space() -> None:
    bench = Bench()
    bench.serve([1, 2, 3], "tenant a")
    assert bench.tree.match("tenant b", run(1, 2, 3)) == 0
    assert bench.tree.match("", run(1, 2, 3)) == 0
    assert bench.serve([1, 2, 3], "tenant b") == 0
    assert bench.serve([1, 2, 3], "tenant a") == 3


def test_what_nobody_comes_back_to_is_forgotten_and_what_is_shared_stays_longer() -> None:
    bench = Bench()
    bench.serve([1, 2, 3, 4])
    bench.serve([1, 2, 5])
    bench.tree.age(PATIENCE - SWEEP)
    assert bench.tree.tokens == 5
    bench.tree.age(2 * SWEEP)
    assert bench.tree.tokens == 2, "the ends that only their makers have used"
    bench.check()
    bench.tree.age(PATIENCE * (TRUST - 2))
    assert bench.serve([1, 2]) == 2
    bench.tree.age(PATIENCE * TRUST)
    assert bench.tree.tokens == 2
    bench.tree.age(2 * SWEEP)
    assert bench.tree.tokens == 0
    bench.check()


def test_what_is_in_use_is_not_forgotten_however_old() -> None:
    bench = Bench()
    each = bench.begin([1, 2, 3])
    bench.compute(each, 3)
    bench.tree.age(PATIENCE * TRUST * 2)
    bench.check()
    assert bench.tree.tokens == 3
    bench.end(each)
    bench.tree.age(SWEEP)
    assert bench.tree.tokens == 0


def test_who_uses_the_end_of_a_prefix_uses_its_beginning() -> None:
    bench = Bench()
    bench.serve([1, 2, 3])
    each = bench.begin([1, 2, 4])
    bench.tree.age(PATIENCE * TRUST)
    bench.compute(each, 3)
    bench.end(each)
    bench.tree.age(PATIENCE + SWEEP)
    assert bench.tree.tokens == 2
    bench.tree.age(PATIENCE * (TRUST - 2))
    assert bench.serve([1, 2]) == 2


def test_a_running_sequence_is_shared_as_far_as_it_is_computed() -> None:
    bench = Bench()
    leader = bench.begin(list(range(10)))
    bench.compute(leader, 6)
    follower = bench.begin([*range(8), 99])
    assert follower.computed == 6
    bench.compute(leader, 10)
    bench.compute(follower, 9)
    bench.end(leader)
    bench.end(follower)


def test_the_same_computed_twice_is_held_once() -> None:
    bench = Bench()
    one, two = bench.begin(list(range(10))), bench.begin(list(range(10)))
    bench.compute(one, 10)
    bench.compute(two, 5)
    assert bench.memory.used == 10
    bench.compute(two, 10)
    assert bench.memory.used == 10
    assert bench.stands[one] is bench.stands[two]


def test_what_nobody_uses_longest_is_forgotten_first() -> None:
    bench = Bench()
    bench.serve([1, 1, 1])
    bench.serve([2, 2])
    bench.serve([1, 1, 3])
    bench.serve([2, 2])
    assert bench.tree.evict() == 1  # the end of [1, 1, 1]
    assert bench.tree.match("", run(1, 1, 3)) == 3
    assert bench.tree.evict() == 1  # that of [1, 1, 3], older than [2, 2]
    assert bench.tree.evict() == 2  # and what they had in common, used no later than they
    assert bench.tree.match("", run(2, 2)) == 2
    assert bench.tree.evict() == 2
    assert bench.tree.evict() == 0
    assert bench.memory.used == 0


def test_spaces_compete_for_room_on_equal_terms() -> None:
    bench = Bench()
    bench.serve([1, 1], "a")
    bench.serve([2, 2], "b")
    bench.serve([1, 1], "a")
    bench.tree.evict()
    assert bench.tree.match("b", run(2, 2)) == 0
    assert bench.tree.match("a", run(1, 1)) == 2


def test_what_a_sequence_stands_on_stays_and_no_more_than_that() -> None:
    bench = Bench()
    bench.serve([1, 2, 3, 4])
    bench.serve([1, 2, 5])
    standing = bench.begin([1, 2, 3, 9])
    assert bench.tree.pinned == 3
    freed = 0
    while count := bench.tree.evict():
        freed += count
        bench.check()
    assert freed == 2
    assert bench.tree.tokens == 3
    bench.end(standing)
    assert bench.tree.pinned == 0


def test_a_node_that_others_stand_on_does_not_grow_under_them() -> None:
    bench = Bench()
    first, second = bench.begin([1, 2, 3, 4, 5]), bench.begin([1, 2, 3, 4, 6])
    bench.compute(first, 3)
    bench.compute(second, 3)
    bench.compute(first, 5)
    bench.end(first)
    assert bench.tree.evict() == 2
    assert bench.tree.pinned == 3


def test_without_ids_nothing_is_parked() -> None:
    bench = Bench(parking=0)
    assert not bench.tree.parks
    assert bench.serve([1, 2, 3]) == 0
    assert bench.serve([1, 2, 3]) == 0
    assert bench.memory.used == 0


def test_the_last_id_is_taken_from_what_nobody_uses() -> None:
    bench = Bench(parking=1)
    bench.serve([1, 1, 1])
    assert bench.serve([2, 2]) == 0
    assert bench.serve([2, 2]) == 2
    assert bench.serve([1, 1, 1]) == 0
    # A node cannot be cut without a second id: nothing of it is given, rather than more of it pinned than is used.
    assert bench.serve([1, 1, 5]) == 0


def test_ids_in_use_are_not_taken() -> None:
    bench = Bench(parking=1)
    holder = bench.begin([1, 1])
    bench.compute(holder, 2)
    other = bench.begin([2, 2])
    bench.compute(other, 2)
    assert bench.tree.tokens == 2
    bench.end(other)
    assert bench.serve([1, 1, 1]) == 2
    bench.end(holder)


def test_after_the_memory_is_lost_all_ids_are_free_again() -> None:
    bench = Bench(parking=2)
    for _ in range(3):
        bench.serve([1, 1, 1])
        bench.serve([1, 2, 2])
        bench.memory.forget()
        bench.tree.clear()
        bench.check()
        assert bench.tree.match("", run(1)) == 0
    assert bench.serve([1, 1, 1]) == 0
    assert bench.serve([1, 1, 1]) == 3


@pytest.mark.parametrize("parking", [0, 1, 2, 3, 5, 30])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_sequences_in_any_order(parking: int, seed: int) -> None:
    """Random sequences that grow, end and are evicted in random order: `Bench.check` holds after each."""
    bench, pick = Bench(parking), random.Random(seed)
    for _ in range(60):
        active = list(bench.stands)
        choice = pick.random()
        if choice < 0.4 and len(active) < SLOTS:
            length = pick.randint(1, 12)
            bench.begin([pick.randrange(2) for _ in range(length)], pick.choice("ab"))
        elif choice < 0.8 and active:
            each = pick.choice(active)
            bench.compute(each, pick.randint(each.computed, each.prompt))
        elif choice < 0.9 and active:
            bench.end(pick.choice(active))
        elif choice >= 0.9:
            before, pinned = bench.tree.tokens, bench.tree.pinned
            freed = bench.tree.evict()
            assert bench.tree.tokens == before - freed
            assert bool(freed) == (before > pinned)
            bench.check()
    for each in list(bench.stands):
        bench.end(each)
    while bench.tree.evict():
        bench.check()
    assert bench.memory.used == 0

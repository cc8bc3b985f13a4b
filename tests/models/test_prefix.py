"""The held prefix: what is kept, what is computed, and what a failure leaves. Without llama.cpp."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.engine.prefix import Prefix
from store.records.errors import ModelFailed


class Memory:
    """Keeps the tokens it was given, as a KV memory would, and checks that positions continue."""

    def __init__(self, batch: int = 4, cuts: bool = True) -> None:
        self.tokens: list[int] = []
        self.computed = 0
        self.batch, self.cuts = batch, cuts
        self.broken = False

    def decode(self, tokens: Sequence[int], position: int, *, rows: int = 1) -> NDArray[np.float32]:
        assert 0 < rows <= len(tokens) <= self.batch
        assert position == len(self.tokens)
        self.tokens += tokens
        self.computed += len(tokens)
        if self.broken:
            raise ModelFailed("broken")
        return np.array([[token] for token in tokens[-rows:]], np.float32)

    def truncate(self, length: int) -> bool:
        if self.cuts or length == 0:
            del self.tokens[length:]
            return True
        self.tokens.clear()
        return False


def never() -> bool:
    return False


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=20), min_size=1, max_size=8), st.booleans())
def test_the_memory_always_holds_the_prompt_and_nothing_is_computed_twice(prompts: list[list[int]], cuts: bool) -> None:
    memory = Memory(cuts=cuts)
    prefix = Prefix(memory, 4)
    held: list[int] = []
    for prompt in prompts:
        before = memory.computed
        reused = prefix.keep(prompt)
        logits = prefix.feed(prompt[reused:], never)
        assert memory.tokens == prompt
        assert memory.computed - before == len(prompt) - reused
        assert logits is not None
        assert logits[0, 0] == prompt[-1]
        common = next((n for n, (a, b) in enumerate(zip(held, prompt, strict=False)) if a != b), len(held))
        best = min(common, len(prompt) - 1)
        assert reused in ((best,) if cuts else (best, 0))
        held = prompt


def test_time_runs_out_between_passes_and_what_was_computed_is_kept() -> None:
    memory = Memory()
    prefix = Prefix(memory, 4)
    answers = iter([False, True])
    assert prefix.feed(list(range(10)), lambda: next(answers)) is None
    assert memory.tokens == [0, 1, 2, 3]
    assert prefix.keep(list(range(10))) == 4


def test_a_failed_pass_leaves_nothing_behind() -> None:
    memory = Memory()
    prefix = Prefix(memory, 4)
    prefix.feed([1, 2, 3], never)
    memory.broken = True
    with pytest.raises(ModelFailed):
        prefix.feed([4], never)
    assert memory.tokens == []
    assert len(prefix) == 0


def test_several_rows_come_from_one_pass() -> None:
    prefix = Prefix(Memory(), 4)
    logits = prefix.feed([5, 6, 7], never, rows=3)
    assert logits is not None
    assert logits[:, 0].tolist() == [5, 6, 7]

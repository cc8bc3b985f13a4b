"""In which passes a CPU computes a step: every slice once, in its own order, and with the same logits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.engine.batch import SHORT, groups
from models.engine.runner import TILE, Load, Runner
from models.engine.sequence import Sequence, Slice
from models.model import Model


def part(slot: int, start: int, tokens: list[int], outputs: int = 1) -> Slice:
    sequence = Sequence(tokens, len(tokens), 0)
    sequence.slot = slot
    return Slice(sequence, start, tokens, outputs, 0, True)


def test_a_small_step_is_one_pass() -> None:
    parts = [part(0, 0, [1] * (TILE - 2)), part(1, 0, [1])]
    assert groups(parts, TILE) == [parts]


def test_next_tokens_are_kept_from_the_rows_of_prompts() -> None:
    prompt, one, other = part(0, 0, [1] * TILE), part(1, 0, [1]), part(2, 0, [1, 2])
    assert groups([one, prompt, other], TILE) == [[one, other], [prompt]]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80))
def test_no_slice_is_lost_and_no_pass_of_short_ones_is_tiled(lengths: list[int]) -> None:
    parts = [part(number, 0, [1] * length) for number, length in enumerate(lengths)]
    found = groups(parts, TILE)
    assert sorted(each.sequence.slot for group in found for each in group) == list(range(len(parts)))
    for group in found:
        short = all(len(each.tokens) <= SHORT for each in group)
        assert not short or sum(len(each.tokens) for each in group) < TILE


def test_the_logits_are_those_of_each_slice_alone(small: Model) -> None:
    runner = Runner(str(small.file), Load(cells=2048, threads=1, slots=8))
    try:
        words = runner.tokenize("The quick brown fox jumps over the lazy dog and then it sleeps. " * 8)
        prompts = [words[number : number + 20] for number in range(6)]

        def step() -> list[Slice]:
            answers = [part(slot, 20, [words[slot], words[slot + 1]], 2) for slot in range(6)]
            # The prompt stands between them, so that the order of the passes is not the order of the slices.
            return [*answers[:3], part(6, 0, words[:TILE]), *answers[3:]]

        def begin() -> None:
            runner.forget()
            for slot, prompt in enumerate(prompts):
                runner.compute([part(slot, 0, prompt)])

        begin()
        together = runner.compute(step()).copy()
        begin()
        apart = np.concatenate([runner.compute([each]).copy() for each in step()])
        assert together.shape == (13, len(runner.vocabulary.pieces))
        # Sums in 16 bits differ in their last places; another slice's logits would differ by far more.
        assert np.abs(together - apart).max() < 0.5
        assert np.abs(together - np.roll(apart, 1, axis=0)).max() > 2.0
        assert (together.argmax(axis=1) == apart.argmax(axis=1)).mean() > 0.9
    finally:
        runner.close()

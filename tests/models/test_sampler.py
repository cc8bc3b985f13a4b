"""Choosing tokens: greedy, drawn from a seed, and restricted without changing the distribution."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.engine.sampler import Sampler
from store.records.errors import ModelFailed

LOGITS = np.array([2.0, 1.0, 0.5, -1.0, 1.5], np.float32)


class Only:
    """Rules that allow a set of tokens."""

    def __init__(self, *tokens: int) -> None:
        self.tokens = tokens

    def accept(self, token: int) -> bool:
        return token in self.tokens

    def allowed(self) -> NDArray[np.bool_]:
        return np.isin(np.arange(len(LOGITS)), self.tokens)


def test_greedy_takes_the_likeliest_that_is_allowed() -> None:
    sampler = Sampler(0, 0)
    assert sampler.name == "greedy"
    assert sampler.choose(LOGITS, None) == 0
    assert sampler.choose(LOGITS, Only(1, 3, 4)) == 4


def test_the_same_seed_draws_the_same_tokens() -> None:
    def draw(seed: int) -> list[int]:
        sampler = Sampler(0.7, seed)
        return [sampler.choose(LOGITS, None) for _ in range(50)]

    assert Sampler(0.7, 1).name == "temperature=0.7"
    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize("allowed", [(0, 1, 2, 3, 4), (1, 2, 3), (3, 4)])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_over_what_is_allowed(allowed: tuple[int, ...], temperature: float) -> None:
    sampler = Sampler(temperature, 7)
    draws = [sampler.choose(LOGITS, Only(*allowed)) for _ in range(20_000)]
    shares = np.bincount(draws, minlength=len(LOGITS)) / len(draws)
    weights = np.exp(LOGITS / temperature) * np.isin(np.arange(len(LOGITS)), allowed)
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.015)


def test_a_hopeless_token_is_never_drawn_from_a_large_vocabulary() -> None:
    logits = np.full(150_000, -60.0, np.float32)
    logits[7] = 0.0
    sampler = Sampler(1.0, 3)
    assert {sampler.choose(logits, None) for _ in range(500)} == {7}


def test_what_is_not_a_number_and_what_is_not_allowed_fail() -> None:
    with pytest.raises(ModelFailed, match="not numbers"):
        Sampler(0, 0).choose(np.array([0.0, np.nan], np.float32), None)
    with pytest.raises(ModelFailed, match="allows no token"):
        Sampler(0, 0).choose(LOGITS, Only())

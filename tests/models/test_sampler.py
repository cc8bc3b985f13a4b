"""Choosing tokens: greedy, drawn from a seed, cut and restricted; each against the plain definition."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.engine.sampler import RECENT, Sampler, logprob
from models.request import Message, Request
from store.records.errors import ModelFailed

LOGITS = np.array([2.0, 1.0, 0.5, -1.0, 1.5], np.float32)
RANDOM = np.random.default_rng(5)
PEAKED = (RANDOM.standard_normal(4000) * 2 - 4).astype(np.float32)
PEAKED[[3, 77, 1500, 3999]] = [8, 7.5, 7, 6]
FLAT = (RANDOM.standard_normal(300) * 1.5).astype(np.float32)
TIED = np.repeat(np.array([1.0, 0.0, -1.0], np.float32), 20)


class Only:
    """Rules that allow a set of tokens."""

    def __init__(self, size: int, tokens: Sequence[int]) -> None:
        self.mask = np.isin(np.arange(size), tokens)
        self.asked = 0

    def accept(self, token: int) -> bool:
        return bool(self.mask[token])

    def allowed(self) -> NDArray[np.bool_]:
        self.asked += 1
        return self.mask


def reference(
    logits: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> NDArray[np.float64]:
    """The distribution by its definition, in 64 bits and with everything sorted."""
    order = [int(token) for token in np.argsort(-logits.astype(np.float64), kind="stable") if mask[token]]
    order = order[: top_k or None]
    weights = np.exp(logits[order].astype(np.float64))
    weights /= weights.sum()
    left = int(np.flatnonzero(weights.cumsum() >= min(top_p, weights.sum()))[0]) + 1 if top_p < 1 else len(order)
    left = min(left, int((weights >= min_p * weights[0] * (1 - 1e-6)).sum()))
    hot = np.zeros(len(logits))
    hot[order[:left]] = np.exp(logits[order[:left]].astype(np.float64) / temperature)
    hot /= hot.sum()
    return hot


def assert_follows(counts: NDArray[np.intp], shares: NDArray[np.float64]) -> None:
    """Pearson's chi-square test; cells that expect less than 5 draws are put together."""
    assert counts[shares == 0].sum() == 0
    expected = shares * counts.sum()
    small = expected < 5
    cells = [*zip(counts[~small], expected[~small], strict=True), (counts[small].sum(), expected[small].sum())]
    statistic = sum((count - hope) ** 2 / hope for count, hope in cells if hope > 0)
    freedom = max(1, len(cells) - 1)
    assert statistic < freedom + 5 * math.sqrt(2 * freedom) + 10


def test_greedy_takes_the_likeliest_that_is_allowed() -> None:
    sampler = Sampler(0, 0, top_k=2, top_p=0.1, min_p=0.5)
    assert sampler.name == "greedy"
    assert sampler.choose(LOGITS, None) == 0
    assert sampler.choose(LOGITS, Only(5, (1, 3, 4))) == 4
    many = list(range(100, 4000))
    assert sampler.choose(PEAKED, Only(4000, many)) == 1500
    assert sampler.choose(PEAKED, Only(4000, (50, 60))) == (50 if PEAKED[50] >= PEAKED[60] else 60)


def test_the_mask_is_asked_for_only_when_the_first_choice_is_refused() -> None:
    rules = Only(5, (0, 4))
    Sampler(0, 0).choose(LOGITS, rules)
    assert rules.asked == 0
    Sampler(0, 0).choose(LOGITS, Only(5, (4,)))
    Sampler(0.5, 0, top_k=2).choose(LOGITS, rules)
    assert rules.asked == 1


def test_the_same_seed_draws_the_same_tokens() -> None:
    def draw(seed: int, **cuts: Any) -> list[int]:
        sampler = Sampler(0.7, seed, **cuts)
        return [sampler.choose(FLAT, Only(300, range(0, 300, 2))) for _ in range(50)]

    assert draw(1) == draw(1) != draw(2)
    assert draw(1, top_p=0.8) == draw(1, top_p=0.8) != draw(2, top_p=0.8)


@pytest.mark.parametrize(
    "allowed",
    [lambda n: range(n), lambda n: range(1, n), lambda n: range(0, n, 2), lambda n: [1, 3, n // 2, n - 1]],
    ids=["all", "not the first", "half", "few"],
)
@pytest.mark.parametrize("logits", [LOGITS, PEAKED, FLAT, TIED], ids=["five", "peaked", "flat", "tied"])
@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"temperature": 1.0, "top_k": 3},
        {"temperature": 1.5, "top_p": 0.6},
        {"temperature": 0.8, "top_p": 0.97},
        {"temperature": 2.0, "min_p": 0.2},
        {"temperature": 1.2, "top_k": 30, "top_p": 0.9, "min_p": 0.05},
    ],
    ids=str,
)
def test_draws_follow_the_definition(logits: NDArray[np.float32], settings: dict[str, Any], allowed: Any) -> None:
    rules = Only(len(logits), list(allowed(len(logits))))
    sampler = Sampler(seed=7, **settings)
    draws = [sampler.choose(logits, rules) for _ in range(1500)]
    assert_follows(np.bincount(draws, minlength=len(logits)), reference(logits, rules.mask, **settings))


@pytest.mark.parametrize("temperature", [0.7, 3.0])
def test_the_tail_of_a_large_vocabulary_is_drawn_as_often_as_it_weighs(temperature: float) -> None:
    logits = np.full(60_000, -10.0 * temperature, np.float32)
    logits[7], logits[8] = 0.0, -20 * temperature
    sampler = Sampler(temperature, 3)
    draws = np.array([sampler.choose(logits, None) for _ in range(3000)])
    tail = 59_998 * math.exp(-10)
    expected = 3000 * tail / (1 + tail)
    assert abs((draws != 7).sum() - expected) < 5 * math.sqrt(expected)
    deep = np.full(60_000, -15.0 * temperature, np.float32)
    deep[7] = 0.0
    draws = np.array([sampler.choose(deep, None) for _ in range(20_000)])
    expected = 20_000 * 60_000 * math.exp(-15)
    assert abs((draws != 7).sum() - expected) < 5 * math.sqrt(expected)


def test_a_hopeless_token_is_never_drawn_from_a_large_vocabulary() -> None:
    logits = np.full(150_000, -60.0, np.float32)
    logits[7] = 0.0
    every: list[dict[str, Any]] = [{}, {"top_k": 50}, {"top_p": 0.99}, {"min_p": 0.01}]
    for cuts in every:
        sampler = Sampler(1.0, 3, **cuts)
        assert {sampler.choose(logits, None) for _ in range(200)} == {7}


def test_a_cut_is_made_among_what_the_grammar_allows() -> None:
    sampler = Sampler(1.0, 0, top_k=2)
    assert {sampler.choose(LOGITS, Only(5, (1, 2, 3))) for _ in range(200)} == {1, 2}


def test_of_equals_the_lower_ids_are_kept() -> None:
    sampler = Sampler(1.0, 0, top_k=3)
    assert {sampler.choose(TIED, None) for _ in range(200)} == {0, 1, 2}


def test_more_may_be_kept_than_there_is() -> None:
    sampler = Sampler(1.0, 0, top_k=10**6)
    assert {sampler.choose(LOGITS, None) for _ in range(500)} == {0, 1, 2, 3, 4}


def test_a_bias_is_added_and_nothing_given_is_changed() -> None:
    before = LOGITS.copy()
    assert Sampler(0, 0, bias=((3, 4.0), (0, -1.0))).choose(LOGITS, None) == 3
    assert Sampler(0, 0, bias=((0, -100.0),)).choose(LOGITS, None) == 4
    Sampler(0.5, 0, penalty=1.5, top_p=0.5).choose(LOGITS, Only(5, (1, 2)), [0, 1])
    np.testing.assert_array_equal(LOGITS, before)


def test_the_penalty_weakens_recent_tokens_whatever_their_sign() -> None:
    sampler = Sampler(0, 0, penalty=2.0)
    assert sampler.choose(LOGITS, None, [0]) == 4
    assert sampler.choose(LOGITS, None, [0, 0, 4]) in (0, 1)
    assert sampler.choose(np.array([-1.0, -1.5], np.float32), None, [0]) == 1
    assert sampler.choose(LOGITS, None, [0] + [3] * RECENT) == 0
    assert sampler.choose(LOGITS, None, []) == 0


def test_a_request_makes_its_sampler_and_the_record_names_all_of_it() -> None:
    def named(**settings: Any) -> str:
        return Sampler.of(Request((Message("user", "x"),), **settings)).name

    assert named() == "greedy"
    assert named(top_k=5, top_p=0.5) == "greedy"
    assert named(temperature=0.7) == "temperature=0.7"
    assert named(repetition_penalty=1.2, logit_bias=((5, -1.5), (7, 2))) == (
        "greedy repetition_penalty=1.2 logit_bias=5:-1.5,7:2"
    )
    assert named(temperature=0.7, top_k=40, top_p=0.9, min_p=0.05) == "temperature=0.7 top_k=40 top_p=0.9 min_p=0.05"


def test_log_probabilities_are_the_models_own() -> None:
    exact = LOGITS.astype(np.float64) - np.log(np.exp(LOGITS.astype(np.float64)).sum())
    np.testing.assert_allclose([logprob(LOGITS, token) for token in range(5)], exact, atol=1e-5)
    assert logprob(PEAKED * 50, 3) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 2}])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_not_a_number_fails(settings: dict[str, Any], broken: float) -> None:
    sampler = Sampler(**{"temperature": 0, "seed": 0, **settings})
    for rules in (None, Only(2, (0,))):
        with pytest.raises(ModelFailed, match="not numbers"):
            sampler.choose(np.array([0.0, broken], np.float32), rules)


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0}, {"temperature": 1.0, "min_p": 0.1}])
def test_a_grammar_without_a_way_on_fails(settings: dict[str, Any]) -> None:
    with pytest.raises(ModelFailed, match="allows no token"):
        Sampler(**{"temperature": 0, "seed": 0, **settings}).choose(LOGITS, Only(5, ()))

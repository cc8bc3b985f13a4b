"""Chooses the next token from logits: the most likely one, or one drawn from a seed.

The order is that of llama.cpp's default chain: logit bias, repetition penalty, the grammar's mask, then on the model's
distribution over what is left top-k, top-p and min-p, and temperature last, so that a high temperature does not let
back in what was cut. A temperature of 0 takes the likeliest token, which no cut removes.

Rows have up to 152,000 logits, of which few matter: only those near the best are exponentiated and sorted. This module
never changes the logits that it is given, and knows nothing of text.
"""

import math
import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.request import Request
from store.records.errors import ModelFailed

RECENT = 64
"""How many of the last tokens the repetition penalty weakens."""
_TAIL = 14.0
"""Beyond this many units of temperature below the best, a token weighs less than 1e-6 of it."""
_DEPTHS = (4.0, 8.0, 16.0, 40.0)
"""How far below the best a nucleus is looked for. Beyond the last, all tokens together weigh nothing."""
_HIDDEN = np.float32(1e30)
"""What is taken from the logits of tokens that are not allowed."""
_BLOCK = 256
_BUCKETS = 16
"""Buckets for one unit of depth below the best, when a nucleus is searched."""

Logits = NDArray[np.float32]
Ids = NDArray[np.intp]


class _Desk(threading.local):
    """A thread's working memory. Fresh pages for each row would cost more than all the arithmetic on it."""

    def __init__(self) -> None:
        self._pages: dict[str, NDArray[np.float32]] = {}

    def page(self, name: str, size: int) -> Logits:
        """Memory for `size` scores, valid until the thread asks for the page again."""
        page = self._pages.get(name)
        if page is None or len(page) != size:
            page = self._pages[name] = np.empty(size, np.float32)
        return page


_desk = _Desk()


class Rules(Protocol):
    """What the sampler asks of a grammar."""

    def accept(self, token: int) -> bool:
        """Takes the token, if it may stand next."""
        ...

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may stand next: bool (vocabulary,)."""
        ...


class Sampler:
    """Chooses tokens for one sequence. The same seed and logits give the same tokens.

    `top_k` 0, `top_p` 1, `min_p` 0 and `penalty` 1 change nothing. top-p is the nucleus of Holtzman et al. (The Curious
    Case of Neural Text Degeneration, 2020), min-p that of Nguyen et al. (2024), the penalty that of Keskar et al.
    (CTRL, 2019): a recent token's logit is divided by it if positive, multiplied if negative.
    """

    def __init__(
        self,
        temperature: float,
        seed: int,
        *,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        penalty: float = 1.0,
        bias: Sequence[tuple[int, float]] = (),
    ) -> None:
        """`bias` holds token ids and what is added to their logits; the ids must be the vocabulary's."""
        self._temperature = temperature
        self._random = np.random.Generator(np.random.Philox(seed)) if temperature > 0 else None
        self._top_k, self._top_p, self._min_p, self._penalty = top_k, top_p, min_p, penalty
        self._cuts = temperature > 0 and (top_k > 0 or top_p < 1 or min_p > 0)
        self._biased = np.array([token for token, _ in bias], np.intp)
        self._bias = np.array([number for _, number in bias], np.float32)

    @classmethod
    def of(cls, request: Request) -> "Sampler":
        """The sampler that an admitted request asks for."""
        return cls(
            request.temperature,
            request.seed,
            top_k=request.top_k,
            top_p=request.top_p,
            min_p=request.min_p,
            penalty=request.repetition_penalty,
            bias=request.logit_bias,
        )

    @property
    def name(self) -> str:
        """How tokens are chosen, for the record: everything that has an effect."""
        parts = ["greedy"]
        if self._random:
            parts = [f"temperature={self._temperature:g}"]
            parts += [f"top_k={self._top_k}"] if self._top_k else []
            parts += [f"top_p={self._top_p:g}"] if self._top_p < 1 else []
            parts += [f"min_p={self._min_p:g}"] if self._min_p > 0 else []
        parts += [f"repetition_penalty={self._penalty:g}"] if self._penalty != 1 else []
        pairs = zip(self._biased, self._bias, strict=True)
        parts += ["logit_bias=" + ",".join(f"{token}:{number:g}" for token, number in pairs)] if len(self._bias) else []
        return " ".join(parts)

    def choose(self, logits: Logits, rules: Rules | None, recent: Sequence[int] = ()) -> int:
        """The next token for logits, float32 (vocabulary,). With rules, it is one that they have accepted.

        `recent` are the tokens before it, prompt and answer; the last RECENT count. Without cuts the choice among all
        tokens is tried first, and the mask is needed only if the rules refuse it. That is exact: a draw that is
        repeated among the allowed tokens when it fell on another has the distribution of a draw among the allowed.
        Raises ModelFailed if the logits are not numbers or no token is allowed.
        """
        scores = self._adjusted(logits, recent)
        if not np.isfinite(scores[scores.argmax()]):
            raise ModelFailed("the model computes values that are not numbers", "", "use another GGUF file")
        if rules is None or not self._cuts:
            token = self._pick(scores)
            if rules is None or rules.accept(token):
                return token
        ids, scores = _only(scores, rules.allowed())
        token = self._pick(scores)
        token = token if ids is None else int(ids[token])
        if not rules.accept(token):
            raise _dead_end()
        return token

    def _adjusted(self, logits: Logits, recent: Sequence[int]) -> Logits:
        if not len(self._bias) and self._penalty == 1:
            return logits
        scores = _desk.page("adjusted", len(logits))
        scores[:] = logits
        scores[self._biased] += self._bias
        if self._penalty != 1 and len(recent):
            ids = np.unique(np.asarray(recent[-RECENT:], np.intp))
            values = scores[ids]
            scores[ids] = np.where(values > 0, values / np.float32(self._penalty), values * np.float32(self._penalty))
        return scores

    def _pick(self, scores: Logits) -> int:
        """The index that greedy search or a draw takes."""
        best = int(scores.argmax())
        if self._random is None:
            return best
        peak, heat = scores[best], np.float32(self._temperature)
        if not self._cuts:
            return _drawn(self._random, scores, peak, heat)
        ids = self._cut(scores, peak)
        ends = np.exp((scores[ids] - peak) / heat).cumsum(dtype=np.float64)
        return int(ids[ends.searchsorted(self._random.random() * ends[-1], "right")])

    def _cut(self, scores: Logits, peak: np.float32) -> Ids:
        """The tokens that top-k, top-p and min-p leave, in this order, each on what the one before left."""
        line = peak + np.float32(math.log(self._min_p)) if self._min_p > 0 else -np.float32(np.inf)
        if self._top_k:
            ids = _largest(scores, self._top_k)
            if self._top_p < 1:
                ends = np.exp(scores[ids] - peak).cumsum(dtype=np.float64)
                ids = ids[: ends.searchsorted(self._top_p * ends[-1]) + 1]
        elif self._top_p < 1:
            ids = _nucleus(scores, peak, self._top_p)
        else:
            return np.flatnonzero(scores >= line)
        return ids[scores[ids] >= line]


def logprob(logits: Logits, token: int) -> float:
    """ln p of a token in the model's own distribution, softmax of logits, float32 (vocabulary,)."""
    peak = logits.max()
    return float(logits[token] - peak) - math.log(_weights(logits, peak, np.float32(1)).sum(dtype=np.float64))


def _weights(scores: Logits, peak: np.float32, heat: np.float32) -> Logits:
    """exp((score - peak) / heat) of every token, on a page of the desk."""
    page = np.subtract(scores, peak, out=_desk.page("weights", len(scores)))
    np.multiply(page, 1 / heat, out=page)
    return np.exp(page, out=page)


def _dead_end() -> ModelFailed:
    return ModelFailed("the grammar allows no token here", "", "simplify the schema")


def _only(scores: Logits, mask: NDArray[np.bool_]) -> tuple[Ids | None, Logits]:
    """The scores of the allowed tokens: alone with their ids if they are few, or else with the others hidden."""
    count = np.count_nonzero(mask)
    if count == 0:
        raise _dead_end()
    if count <= len(scores) // 16:
        ids = np.flatnonzero(mask)
        return ids, scores[ids]
    # Arithmetic: numpy's own selection by a mask takes ten times as long.
    page = np.multiply(mask, _HIDDEN, out=_desk.page("hidden", len(scores)))
    np.subtract(page, _HIDDEN, out=page)
    return None, np.add(page, scores, out=page)


def _drawn(random: np.random.Generator, scores: Logits, peak: np.float32, heat: np.float32) -> int:
    """A draw from softmax(scores / heat).

    By rejection (von Neumann, 1951), so that only the scores near the peak are exponentiated: each of the others stands
    for the largest weight it can have, and is checked if the draw falls on it. In a vocabulary of 152,000 one draw in
    eight, at most, is repeated. If many scores are near, all are exponentiated instead.
    """
    line = peak - np.float32(_TAIL) * heat
    near = scores >= line
    if np.count_nonzero(near) > len(scores) // 16:
        return _drawn_of_all(random, _weights(scores, peak, heat))
    ids = np.flatnonzero(near)
    ends = np.exp((scores[ids] - peak) / heat).cumsum(dtype=np.float64)
    light = math.exp(-_TAIL)
    while True:
        point = random.random() * (ends[-1] + light * len(scores))
        if point < ends[-1]:
            return int(ids[ends.searchsorted(point, "right")])
        token = min(int((point - ends[-1]) / light), len(scores) - 1)
        depth = (float(peak) - float(scores[token])) / float(heat)
        if not near[token] and random.random() < math.exp(_TAIL - depth):
            return token


def _drawn_of_all(random: np.random.Generator, weights: Logits) -> int:
    """A draw among all tokens by their weights: first a block of them, then one of the block."""
    ends = np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK), dtype=np.float64).cumsum()
    point = random.random() * ends[-1]
    block = int(ends.searchsorted(point, "right"))
    inner = weights[block * _BLOCK : (block + 1) * _BLOCK].cumsum(dtype=np.float64)
    # Sums in another order differ in the last bit: never past the last token that has a weight.
    rest = min(point - (ends[block - 1] if block else 0.0), np.nextafter(inner[-1], 0))
    return block * _BLOCK + int(inner.searchsorted(rest, "right"))


def _largest(scores: Logits, count: int) -> Ids:
    """The `count` likeliest tokens, likeliest first; of equals the one with the lower id."""
    width = len(scores) // (8 * count)
    if width < 2:
        return _ranked(scores, np.arange(len(scores)))[:count]
    # At least `count` scores are not below the count-th largest maximum of blocks, and not many more.
    heads = np.maximum.reduceat(scores, np.arange(0, len(scores), width))
    return _ranked(scores, np.flatnonzero(scores >= np.partition(heads, -count)[-count]))[:count]


def _ranked(scores: Logits, ids: Ids) -> Ids:
    return ids[np.argsort(-scores[ids], kind="stable")]


def _nucleus(scores: Logits, peak: np.float32, share: float) -> Ids:
    """The fewest likeliest tokens that have `share` of the probability together; of equals the lower ids.

    Only as many as are needed are looked at, and only the bucket of scores in which the nucleus ends is sorted.
    """
    weights = _weights(scores, peak, np.float32(1))
    mass = share * float(weights.sum(dtype=np.float64))
    for depth in _DEPTHS:
        ids = np.flatnonzero(weights >= math.exp(-depth))
        near = weights[ids]
        if near.sum(dtype=np.float64) >= mass:
            break
    buckets = ((peak - scores[ids]) * np.float32(_BUCKETS)).astype(np.intp)
    ends = np.bincount(buckets, near).cumsum()
    last = min(int(ends.searchsorted(mass)), len(ends) - 1)
    inside = _ranked(scores, ids[buckets == last])
    sums = weights[inside].cumsum(dtype=np.float64) + (ends[last - 1] if last else 0.0)
    return np.concatenate([ids[buckets < last], inside[: sums.searchsorted(mass) + 1]])

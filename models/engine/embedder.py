"""Turns texts into vectors with one loaded embedding model. Runs on the engine's thread.

A text longer than the model's context is not cut: it is embedded in windows of equal length, whose vectors are averaged
by their number of tokens.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.engine.runner import SEQUENCES, Runner
from models.model import Model
from models.request import Embedding
from store.records.canonical import sha256
from store.records.errors import ModelFailed


class Embedder:
    """An embedding model."""

    def __init__(self, runner: Runner, model: Model) -> None:
        self._runner, self._model = runner, model
        # What the model puts around a text, as in [CLS] text [SEP]: every window needs it.
        framed, word = runner.tokenize("a", ends=True), runner.tokenize("a")
        self._head = framed[: framed.index(word[0])]
        self._tail = framed[len(self._head) + len(word) :]

    def embed(self, texts: Sequence[str], max_tokens: int, arrived: float, expired: Callable[[], bool]) -> Embedding:
        """The vectors of texts, each of length 1. `arrived` is when they came (time.monotonic).

        Raises SettingsError if a text is not Unicode; ModelFailed if time expired, and, with nothing computed, if there
        are more than `max_tokens` tokens (0: as many as there are).
        """
        started, before = time.monotonic(), self._runner.device_ns
        windows = [(number, window) for number, text in enumerate(texts) for window in self._windows(text)]
        tokens = [token for _, window in windows for token in window]
        if 0 < max_tokens < len(tokens):
            what = f"the texts to embed have {len(tokens)} tokens, and their allowance is {max_tokens}"
            raise ModelFailed(what, self._model.name, "raise prompt_tokens_per_proposal, or give less text at once")
        vectors = self._vectors(len(texts), windows, expired)
        return Embedding(
            vectors=vectors.tolist(),
            model=self._model.name,
            model_digest=self._model.sha256,
            prompt_digest=sha256(np.asarray(tokens, "<i4").tobytes()),
            tokens=len(tokens),
            queue_ms=round((started - arrived) * 1000),
            device_ms=round((self._runner.device_ns - before) / 1e6),
        )

    def _vectors(
        self, count: int, windows: Sequence[tuple[int, list[int]]], expired: Callable[[], bool]
    ) -> NDArray[np.float32]:
        """The vectors of `count` texts from their windows, float32 (texts, width)."""
        sums = np.zeros((count, self._runner.width), np.float32)
        for group in passes(windows, self._runner.cells):
            if expired():
                what = "the deadline passed while texts were embedded"
                raise ModelFailed(what, self._model.name, "give fewer texts")
            vectors = self._runner.encode([window for _, window in group])
            for (number, window), vector in zip(group, vectors, strict=True):
                sums[number] += vector * np.float32(len(window))
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            what = "the model computes vectors without a direction"
            raise ModelFailed(what, self._model.name, "use another embedding model")
        scaled: NDArray[np.float32] = sums / lengths
        return scaled

    def _windows(self, text: str) -> Iterator[list[int]]:
        tokens = self._runner.tokenize(text)
        room = self._runner.cells - len(self._head) - len(self._tail)
        count = max(1, -(-len(tokens) // room))
        size = -(-len(tokens) // count)
        for number in range(count):
            yield self._head + tokens[number * size : (number + 1) * size] + self._tail


def passes(windows: Sequence[tuple[int, list[int]]], cells: int) -> Iterator[list[tuple[int, list[int]]]]:
    """Packs numbered token sequences into passes that a runner with so many cells takes."""
    group: list[tuple[int, list[int]]] = []
    used = 0
    for number, window in windows:
        if group and (len(group) == SEQUENCES or used + len(window) > cells):
            yield group
            group, used = [], 0
        group.append((number, window))
        used += len(window)
    if group:
        yield group

"""Turns texts into vectors with one loaded embedding model. Runs on the engine's thread.

A text longer than the model's context is not cut: it is embedded in windows of equal length, whose vectors are averaged
by their number of tokens.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.engine.runner import SEQUENCES, Runner
from store.records.errors import ModelFailed


class Embedder:
    """An embedding model."""

    def __init__(self, runner: Runner, name: str) -> None:
        self._runner, self._name = runner, name
        # What the model puts around a text, as in [CLS] text [SEP]: every window needs it.
        framed, word = runner.tokenize("a", ends=True), runner.tokenize("a")
        self._head = framed[: framed.index(word[0])]
        self._tail = framed[len(self._head) + len(word) :]

    def embed(
        self, texts: Sequence[str], max_tokens: int, expired: Callable[[], bool]
    ) -> tuple[NDArray[np.float32], list[int]] | None:
        """The vectors of texts, float32 (texts, width), each of length 1, and the tokens they were computed from.

        Returns None if time expired. Raises SettingsError if a text is not Unicode, and ModelFailed, with nothing
        computed, if there are more than `max_tokens` tokens (0: as many as there are).
        """
        windows = [(number, window) for number, text in enumerate(texts) for window in self._windows(text)]
        tokens = [token for _, window in windows for token in window]
        if 0 < max_tokens < len(tokens):
            what = f"the texts to embed have {len(tokens)} tokens, and their allowance is {max_tokens}"
            raise ModelFailed(what, self._name, "raise prompt_tokens_per_proposal, or give less text at once")
        sums = np.zeros((len(texts), self._runner.width), np.float32)
        for group in self._groups(windows):
            if expired():
                return None
            vectors = self._runner.encode([window for _, window in group])
            for (number, window), vector in zip(group, vectors, strict=True):
                sums[number] += vector * np.float32(len(window))
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            what = "the model computes vectors without a direction"
            raise ModelFailed(what, self._name, "use another embedding model")
        return sums / lengths, tokens

    def _windows(self, text: str) -> Iterator[list[int]]:
        tokens = self._runner.tokenize(text)
        room = self._runner.cells - len(self._head) - len(self._tail)
        count = max(1, -(-len(tokens) // room))
        size = -(-len(tokens) // count)
        for number in range(count):
            yield self._head + tokens[number * size : (number + 1) * size] + self._tail

    def _groups(self, windows: Sequence[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
        """Packs windows into passes that the runner takes."""
        group: list[tuple[int, list[int]]] = []
        used = 0
        for number, window in windows:
            if group and (len(group) == SEQUENCES or used + len(window) > self._runner.cells):
                yield group
                group, used = [], 0
            group.append((number, window))
            used += len(window)
        if group:
            yield group

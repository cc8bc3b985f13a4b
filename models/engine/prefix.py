"""The tokens that stand in the KV memory, so that a prompt that begins like the last one is not computed again.

Agents ask with prompts that grow at the end: only the new part costs. It knows nothing of llama.cpp but the two calls
of `Memory`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from store.records.errors import ModelFailed


class Memory(Protocol):
    """What the prefix asks of a runner."""

    def decode(self, tokens: Sequence[int], position: int, *, rows: int = 1) -> NDArray[np.float32]:
        """Computes tokens into the KV memory and returns the logits after the last `rows` of them."""
        ...

    def truncate(self, length: int) -> bool:
        """Forgets everything from `length` on; False if it had to forget everything."""
        ...


class Prefix:
    """What is computed already. `batch` is the most tokens that one pass takes."""

    def __init__(self, memory: Memory, batch: int) -> None:
        self._memory, self._batch = memory, batch
        self._held: list[int] = []

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, prompt: Sequence[int]) -> int:
        """Forgets all that is not the beginning of `prompt`; returns how many of its tokens are computed already.

        At least the last one is left to compute, because its logits are needed.
        """
        common = 0
        for held, wanted in zip(self._held, prompt[:-1], strict=False):
            if held != wanted:
                break
            common += 1
        self.cut(common)
        return len(self._held)

    def cut(self, length: int) -> None:
        """Forgets the tokens from `length` on, or all of them if the model cannot forget some."""
        if length < len(self._held):
            whole = self._memory.truncate(length)
            del self._held[length if whole else 0 :]

    def feed(self, tokens: Sequence[int], expired: Callable[[], bool], *, rows: int = 1) -> NDArray[np.float32] | None:
        """Computes tokens after those that are held, and returns the logits after the last `rows` of them.

        Returns float32 (rows, vocabulary), valid until the next call, or None if time expired between two passes; what
        was computed by then is kept. More than one row can be had only of tokens that fit one pass. Raises ModelFailed
        if llama.cpp fails.
        """
        logits = None
        for start in range(0, len(tokens), self._batch):
            if expired():
                return None
            part = tokens[start : start + self._batch]
            try:
                logits = self._memory.decode(part, len(self._held), rows=rows)
            except ModelFailed:
                # After a failure llama.cpp may hold a part of the batch: nothing of it can be trusted.
                self._memory.truncate(0)
                self._held.clear()
                raise
            self._held += part
        return logits

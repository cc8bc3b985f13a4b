"""The tokens of one step, in arrays as llama.cpp reads them, filled by slices instead of one field after another."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engine.sequence import Slice
from store.records.errors import ModelFailed

SHORT = 8
"""Tokens up to which a slice is computed row by row."""


class Batch:
    """Room for `size` tokens of any sequences: int32 `tokens`, `positions`, `counts`, int8 `outputs`.

    `pointers` holds for each token the address of its sequence id.
    """

    def __init__(self, size: int) -> None:
        self.size, self.used = size, 0
        self.tokens, self.positions, self._sequences = (np.zeros(size, np.int32) for _ in range(3))
        self.counts, self.outputs = np.ones(size, np.int32), np.zeros(size, np.int8)
        self.pointers: NDArray[Any] = (
            self._sequences.ctypes.data + np.arange(size, dtype=np.uintp) * self._sequences.itemsize
        )

    def clear(self) -> None:
        """Empties the batch."""
        self.used = 0

    def add(self, sequence: int, position: int, tokens: Sequence[int], outputs: int) -> None:
        """Adds tokens of a sequence, the last `outputs` of which yield logits. Raises ModelFailed if it is full.

        llama.cpp ends the process on a batch that is too large.
        """
        start, end = self.used, self.used + len(tokens)
        if not tokens or end > self.size or not 0 <= outputs <= len(tokens):
            raise ModelFailed(f"{len(tokens)} tokens with {outputs} outputs do not fit a batch of {self.size}")
        self.tokens[start:end] = tokens
        self.positions[start:end] = np.arange(position, position + len(tokens))
        self._sequences[start:end] = sequence
        self.outputs[start:end] = 0
        self.outputs[end - outputs : end] = 1
        self.used = end


def groups(parts: Sequence[Slice], tile: int) -> list[list[Slice]]:
    """The slices of a step in those groups in which a CPU computes them fastest.

    llama.cpp's attention on a CPU takes a pass of `tile` rows or more in tiles (ggml-cpu/ops.cpp, GGML_FA_TILE_Q) and
    computes, for all rows of a tile, each cell that one of them may see. That suits the rows of one prompt, which see
    the same cells; the next tokens of many answers see mostly different ones, and are computed row by row.
    """
    if sum(len(part.tokens) for part in parts) < tile:
        return [list(parts)]
    found: list[list[Slice]] = []
    room = 0
    for part in parts:
        if len(part.tokens) > SHORT:
            continue
        if room < len(part.tokens):
            found.append([])
            room = tile - 1
        found[-1].append(part)
        room -= len(part.tokens)
    long = [part for part in parts if len(part.tokens) > SHORT]
    return [*found, long] if long else found

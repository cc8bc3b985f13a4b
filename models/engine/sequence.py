"""One answer in the making: its tokens, how many of them are computed, and what it waits for. Plain state.

There is no phase of prefill and none of decoding: a sequence has tokens, the first `computed` of which stand in the KV
memory, and every step computes some more. Once all are, the logits after the last one yield the next.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.engine.prefix_tree import Node

Stop = Literal["", "end", "length", "deadline", "stop"]
_numbers = itertools.count()


@dataclass(slots=True, eq=False)
class Sequence:
    """What the scheduler knows of one answer. Times are of the monotonic clock, in seconds.

    `tokens` begin with the prompt, `prompt` tokens long; `keep` is how many of these may be shared with others (a reply
    that is only scored may not); `space` is whose prefixes it may share; `streams` says that somebody watches.
    """

    tokens: list[int]
    prompt: int
    keep: int
    space: str = ""
    priority: int = 0
    arrived: float = 0.0
    deadline: float = math.inf
    streams: bool = False
    outputs_from: int = -1
    """The first position whose logits are needed; -1 if only those that yield the next token are."""
    number: int = field(default_factory=lambda: next(_numbers))
    draft: list[int] = field(default_factory=list)
    """Tokens that may follow, to be computed along with the rest and kept as far as they turn out to be right."""
    stop: Stop = ""

    slot: int = -1
    """The sequence id it runs under, -1 while it waits."""
    computed: int = 0
    private: int = 0
    """How many KV cells only it holds."""
    stand: Node | None = None
    """Where it stands in the prefix tree, pinned."""
    running: bool = False
    """Whether its prompt is computed, so that every step yields a token."""
    reused: int = 0
    """How many tokens of the prompt it was given instead of computing them."""
    preempted: bool = False
    array: NDArray[np.int32] = field(init=False)
    """The prompt as an array: int32 (prompt,)."""

    def __post_init__(self) -> None:
        self.array = np.asarray(self.tokens[: self.prompt], np.int32)

    @property
    def shareable(self) -> NDArray[np.int32]:
        """The tokens that it need not compute itself if another has; the last one it must, for its logits."""
        return self.array[: min(self.keep, self.prompt - 1)]

    @property
    def pending(self) -> int:
        """How many of its tokens are still to be computed."""
        return len(self.tokens) - self.computed

    @property
    def first_output(self) -> int:
        """The first position whose logits are needed."""
        return len(self.tokens) - 1 if self.outputs_from < 0 else self.outputs_from


@dataclass(frozen=True, slots=True)
class Slice:
    """What one step computes of a sequence: `tokens` at position `start` and following.

    `outputs` is how many of the last of them need logits; `drafted` how many of the last are a draft; `whole` whether
    all that was pending is among them.
    """

    sequence: Sequence
    start: int
    tokens: list[int]
    outputs: int
    drafted: int
    whole: bool

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.start + len(self.tokens)

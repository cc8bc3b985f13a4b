"""The engine's loop over a model that is a function, and answers of which one knows what they must be."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.engine.answer import Answer, Logits
from models.engine.lookup import Lookup
from models.engine.loop import Loop
from models.engine.runner import MOST_SEQUENCES
from models.engine.sequence import Sequence, Slice
from store.records.errors import ModelFailed
from tests.models.kv_memory import KvMemory, digests

VOCABULARY = 11
WAIT_S = 120
"""Only a bound for what would otherwise hang."""


class Machine:
    """What the loop needs of a runner. What follows a text is a function of it: the digest of its last cell."""

    divisible = True

    def __init__(self, cells: int, slots: int) -> None:
        self.cells, self.slots = cells, slots
        self.memory = KvMemory(cells, slots, MOST_SEQUENCES)
        self.batch, self.tail = self.memory.batch, 0
        self.share, self.drop, self.forget = self.memory.share, self.memory.drop, self.memory.forget
        self.device_ns = self.passes = 0
        self.acts: dict[int, Callable[[], object]] = {}
        """What is done on the engine's thread just before a pass, by its number."""
        self.follow: Callable[[int, int], int] = lambda digest, _: digest % VOCABULARY
        """The token that follows a digest and a length."""

    def restore(self, slot: int, state: bytes) -> None:
        if not state:
            raise ModelFailed("no state")
        self.memory.restore(slot, "", list(state))

    def compute(self, parts: list[Slice]) -> Logits:
        self.passes += 1
        if self.passes in self.acts:
            self.acts[self.passes]()
        self.memory.compute(parts)
        self.device_ns += 1000
        ends = [(part.sequence, end + 1) for part in parts for end in range(part.end - part.outputs, part.end)]
        logits = np.zeros((len(ends), VOCABULARY), np.float32)
        for row, (sequence, end) in enumerate(ends):
            logits[row, self.follow(self.memory.digest(sequence, end), end)] = 1
        return logits


@dataclass(slots=True, eq=False)
class Story(Answer):
    """The `limit` tokens that most likely follow. `fails` is raised when the first of them is known."""

    limit: int = field(kw_only=True)
    fails: BaseException | None = None
    lookup: Lookup = field(default_factory=Lookup)

    def guess(self) -> None:
        sequence = self.sequence
        room = sequence.prompt + self.limit - len(sequence.tokens) - 1
        sequence.draft = self.lookup.guess(sequence.tokens, room) if sequence.running else []

    def advance(self, part: Slice, logits: Logits) -> int:
        if not part.whole:
            return part.end
        if self.fails:
            raise self.fails
        draft, right = part.tokens[len(part.tokens) - part.drafted :], 0
        for row in logits:
            self.sequence.tokens.append(int(row.argmax()))
            if right == len(draft) or self.sequence.tokens[-1] != draft[right]:
                break
            right += 1
        self.sequence.draft = []
        if len(self.sequence.tokens) == self.sequence.prompt + self.limit:
            self.sequence.stop = "length"
        return part.end - part.drafted + right

    @property
    def generated(self) -> list[int]:
        return self.sequence.tokens[self.sequence.prompt :]


def expected(space: str, prompt: list[int], limit: int) -> list[int]:
    """The answer of a machine that does nothing else."""
    tokens = list(prompt)
    for _ in range(limit):
        tokens.append(digests(space, tokens)[-1] % VOCABULARY)
    return tokens[len(prompt) :]


class Stage:
    """A loop that runs on a thread of its own."""

    def __init__(self, cells: int = 1000, slots: int = 4, **settings: bool) -> None:
        self.machine = Machine(cells, slots)
        self.loop = Loop(self.machine, "machine", **settings)  # type: ignore[arg-type]
        self.pool = ThreadPoolExecutor(1)
        self.end: Future[None] = Future()

    def start(self) -> None:
        """Begins to serve; what was handed in before is then there at once."""
        self.end = self.pool.submit(self.loop.run)

    def hand_in(self, prompt: list[int], limit: int, **settings: Any) -> Story:
        space, priority = settings.pop("space", ""), settings.pop("priority", 0)
        sequence = Sequence(list(prompt), len(prompt), len(prompt), space, priority, time.monotonic())
        story = Story(sequence, limit=limit, **settings)
        self.loop.hand_in(story)
        return story

    def at(self, number: int, act: Callable[[], object]) -> None:
        """Has something done on the engine's thread just before a pass, of which the first is 1."""
        self.machine.acts[number] = act

    def close(self) -> None:
        self.loop.close()
        self.pool.shutdown()

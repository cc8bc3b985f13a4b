"""What becomes of the logits of a sequence: the next tokens of a reply, or the likelihood of one that was given.

An `Answer` belongs to the engine's thread once it was handed over; what it found is read when its future is done. It
never acts on what the model says.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engine.grammar import Matcher
from models.engine.lookup import Lookup
from models.engine.sampler import Sampler, logprob
from models.engine.sequence import Sequence, Slice
from models.engine.stops import Stops
from models.engine.vocabulary import Vocabulary

Logits = NDArray[np.float32]
CHUNK_S = 0.05
"""Seconds for which new text is gathered before it is handed on."""


@dataclass(slots=True, eq=False)
class Answer(ABC):
    """One sequence and what is wanted of it. Times are of the monotonic clock, in seconds."""

    sequence: Sequence
    done: Future[Any] = field(default_factory=Future)
    """Resolved with the answer itself when `sequence.stop` is set, or with the error that ended it."""
    started: float = 0.0
    first: float = 0.0
    """When its first token was known."""
    last: float = 0.0
    device_ns: float = 0.0
    """Its share of the device's time, by tokens."""

    @abstractmethod
    def advance(self, part: Slice, logits: Logits) -> int:
        """Takes the logits (part.outputs, vocabulary) of a slice that was computed.

        Returns up to which position its tokens are right. Sets `sequence.stop` when nothing more is wanted. Raises
        ModelFailed if it cannot go on.
        """

    def since_arrival_ms(self, when: float) -> int:
        """How long after its arrival something was, in milliseconds; 0 if it never was."""
        return round((when - self.sequence.arrived) * 1000) if when else 0

    def resolve(self, outcome: BaseException | None = None) -> None:
        """Resolves `done`, with the answer or an error; only the first time counts."""
        if self.done.done():
            return
        if outcome is None:
            self.done.set_result(self)
        else:
            self.done.set_exception(outcome)

    def end(self) -> None:
        """Does what is left to do when it has come to its end, whatever ended it."""
        return

    def prepare(self) -> None:
        """Does ahead, beside the device, what `advance` may need."""
        return

    def guess(self) -> None:
        """Drafts tokens that may come next."""
        return


@dataclass(slots=True, eq=False)
class Reply(Answer):
    """A reply that is generated. `limit` is the most tokens of it, `ends` are the tokens that end it."""

    sampler: Sampler = field(kw_only=True)
    vocabulary: Vocabulary = field(kw_only=True)
    limit: int = field(kw_only=True)
    matcher: Matcher | None = None
    stops: Stops = field(default_factory=lambda: Stops(()))
    on_text: Callable[[str], object] | None = None
    """Takes new text; called on the engine's thread, which it must not keep."""
    jump: bool = True
    """Whether tokens that the grammar forces are taken as they are, instead of being sampled one by one."""
    measures: bool = False
    """Whether the log-likelihood of each token is kept; then none may be jumped over."""
    logprobs: list[float] = field(default_factory=list)
    sampled: int = 0
    drafted: int = 0
    """Sampled tokens that were guessed before."""
    lookup: Lookup = field(default_factory=Lookup)
    _unsaid: str = ""
    _said: float = 0.0

    @property
    def generated(self) -> list[int]:
        """The tokens of the reply."""
        return self.sequence.tokens[self.sequence.prompt :]

    @property
    def forced(self) -> int:
        """How many of them the grammar forced."""
        return len(self.sequence.tokens) - self.sequence.prompt - self.sampled

    def begin(self) -> None:
        """Takes the tokens that the grammar forces before anything is computed."""
        self._force()

    def prepare(self) -> None:
        if self.matcher:
            self.matcher.prepare()

    def guess(self) -> None:
        sequence = self.sequence
        room = self.limit - (len(sequence.tokens) - sequence.prompt) - 1
        sequence.draft = self.lookup.guess(sequence.tokens, room) if sequence.running else []

    def advance(self, part: Slice, logits: Logits) -> int:
        if not part.whole:
            return part.end
        base = part.end - part.drafted
        draft = part.tokens[len(part.tokens) - part.drafted :]
        right = 0
        while not self.sequence.stop:
            added = self._take(logits[right])
            agreed = _agreed(added, draft[right:])
            right += agreed
            if agreed < len(added):
                break
        self.lookup.learn(len(draft), right)
        self.drafted += right
        self.sequence.draft = []
        self._say(time.monotonic())
        return base + right

    def _take(self, row: Logits) -> list[int]:
        """Adds the token that a row of logits yields, and what the grammar forces after it; returns all of these."""
        sequence = self.sequence
        before = len(sequence.tokens)
        token = self.sampler.choose(row, self.matcher, sequence.tokens)
        self.first = self.first or time.monotonic()
        if self.measures:
            self.logprobs.append(logprob(row, token))
        sequence.tokens.append(token)
        self.sampled += 1
        if token in self.vocabulary.ends:
            sequence.stop = "end"
        elif self._write(token):
            sequence.stop = "stop"
        else:
            self._force()
        return sequence.tokens[before:]

    def _force(self) -> None:
        sequence, room = self.sequence, self.limit - (len(self.sequence.tokens) - self.sequence.prompt)
        if self.matcher:
            forced = self.matcher.forced(room) if self.jump else []
            self.matcher.check()
            sequence.tokens += forced
            for token in forced:
                self._write(token)
            if self.matcher.done:
                sequence.stop = "end"
        if not sequence.stop and len(sequence.tokens) - sequence.prompt >= self.limit:
            sequence.stop = "length"

    def _write(self, token: int) -> bool:
        """Adds a token to the text; True if a stop text ends it there."""
        self._unsaid += self.stops.feed(self.vocabulary.piece(token))
        return self.stops.found

    def end(self) -> None:
        self._unsaid += self.stops.end()
        self._say(now=math.inf)

    def _say(self, now: float) -> None:
        """Hands on the new text, if there is some and the last was a while ago."""
        if self.on_text and self._unsaid and now - self._said >= CHUNK_S:
            self._said = now
            self.on_text(self._unsaid)
            self._unsaid = ""


@dataclass(slots=True, eq=False)
class Score(Answer):
    """The likelihood of the tokens of a reply that was given, its end included: `total`, a natural logarithm."""

    ends: tuple[int, ...] = field(kw_only=True)
    total: float = 0.0

    @property
    def tokens(self) -> int:
        """How many tokens were scored."""
        return self.sequence.prompt - self.sequence.outputs_from

    def advance(self, part: Slice, logits: Logits) -> int:
        tokens = self.sequence.tokens
        if part.start <= self.sequence.outputs_from:
            self.total = 0.0  # it begins anew after it lost its cells
        for position, row in enumerate(logits, part.end - part.outputs):
            if position + 1 < len(tokens):
                self.total += logprob(row, tokens[position + 1])
        if part.whole:
            # Any of the tokens that end a reply may end this one.
            self.total += float(np.logaddexp.reduce([logprob(logits[-1], end) for end in self.ends] or [0.0]))
            self.sequence.stop = "end"
        return part.end


@dataclass(slots=True, eq=False)
class Saved(Answer):
    """The state of the KV memory after all tokens of a sequence, read by `read` as soon as they are computed."""

    read: Callable[[int], bytes] = field(kw_only=True)
    state: bytes = b""

    def advance(self, part: Slice, _: Logits) -> int:
        if part.whole:
            self.state = self.read(part.sequence.slot)
            self.sequence.stop = "end"
        return part.end


def _agreed(added: list[int], draft: list[int]) -> int:
    count = 0
    for one, other in zip(added, draft, strict=False):
        if one != other:
            break
        count += 1
    return count

"""What one request came to, as plain data that crosses a pipe as JSON."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Times are milliseconds since the request was handed in; `error` is empty unless it failed.

    `sampled_tokens` were chosen by the model, `forced_tokens` followed from the grammar without it. `first_ms` is when
    the first token was there, `total_ms` when the last was.
    """

    text: str = ""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    sampled_tokens: int = 0
    forced_tokens: int = 0
    first_ms: float = 0.0
    total_ms: float = 0.0
    device_ms: float = 0.0
    error: str = ""

    @property
    def generated_tokens(self) -> int:
        """Sampled and forced tokens together."""
        return self.sampled_tokens + self.forced_tokens

    @property
    def token_ms(self) -> float:
        """The mean time between two tokens, in milliseconds; 0 for fewer than two tokens."""
        gaps = self.generated_tokens - 1
        return max(self.total_ms - self.first_ms, 0.0) / gaps if gaps > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a level came to: its answers in the order of its jobs, and how long it took in seconds.

    `gaps_before` and `gaps_after` are the milliseconds between two pieces of a stream's text, before the long prompt
    arrived and from then on until it was answered; both are empty unless the level is a stall. `peak_bytes` is the
    largest resident set of the contender's process so far; `steps` how often its engine ran a batch and `python_ms`
    what its Python took for these, both 0 where the contender does not tell.
    """

    answers: tuple[Answer, ...] = field(repr=False)
    seconds: float
    gaps_before: tuple[float, ...] = field(default=(), repr=False)
    gaps_after: tuple[float, ...] = field(default=(), repr=False)
    peak_bytes: int = 0
    steps: int = 0
    python_ms: float = 0.0

    @classmethod
    def parse(cls, value: dict[str, Any]) -> "Outcome":
        """An outcome that went through JSON (`dataclasses.asdict`)."""
        answers = tuple(Answer(**answer) for answer in value["answers"])
        gaps = {key: tuple(value[key]) for key in ("gaps_before", "gaps_after")}
        return cls(**{**value, **gaps, "answers": answers})

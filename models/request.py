"""What is asked of a model and what it answers. Plain data: it travels between actors."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """One generation. `schema` is a JSON Schema that the answer must satisfy, written as compact JSON.

    `max_tokens` bounds what is generated (sampled and forced) and `max_prompt_tokens` the prompt (0: what the context
    holds): together they are the allowance, which the server enforces. `deadline_s` is the time it may take, queue
    included. `model` is a registry name, or empty for the default.
    """

    messages: tuple[Message, ...]
    schema: dict[str, Any] | None = None
    seed: int = 0
    temperature: float = 0.0
    max_tokens: int = 256
    max_prompt_tokens: int = 0
    deadline_s: float = 60.0
    model: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer, with enough to check later that this model said this.

    `stop` is `end` (the model or the grammar ended it), `length` (allowance spent: with a schema the text may then
    not parse) or `deadline`. Digests are hex SHA-256; times are milliseconds.
    """

    text: str
    stop: Literal["end", "length", "deadline"]
    model: str
    model_digest: str
    prompt_digest: str
    grammar_digest: str
    seed: int
    sampler: str
    prompt_tokens: int
    reused_tokens: int
    sampled_tokens: int
    forced_tokens: int
    queue_ms: int
    device_ms: int
    token_ids: tuple[int, ...] = field(default=(), repr=False)

    @property
    def tokens(self) -> int:
        """Prompt and generated tokens together: what budgets count."""
        return self.prompt_tokens + self.sampled_tokens + self.forced_tokens

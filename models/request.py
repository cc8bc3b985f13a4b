"""What is asked of a model and what it answers. Plain data: it travels between actors."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One function that a model may call. `parameters` is the JSON Schema of its arguments, an object's."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One call that a model asks for. Nothing has been called, and nobody has agreed to it yet."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. `calls` are what the assistant asked for in it; a turn of the role `tool` is the result of
    one of them, in their order, and `name` is that tool's."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[ToolUse, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One generation.

    What the answer is bound to, at most one of: `schema`, a JSON Schema that it must satisfy, written as compact JSON;
    `regex`, which must match all of it; `choices`, of which it must be one; `tools`, which it may call. With
    `tool_choice` `auto` the calls are read out of free text; with `required` the answer is bound to be one call,
    `{"name":...,"arguments":...}`, or with `parallel_calls` an array of one or more.

    How tokens are chosen: `temperature` 0 takes the likeliest; `top_k` (0: all), `top_p` (1: all) and `min_p` (0: all)
    cut the distribution; `repetition_penalty` (1: none) weakens the last 64 tokens; `logit_bias` holds token ids and
    what is added to their logits, -100 to 100. Same seed, same tokens. models/engine/sampler.py has the order.

    `stop` are texts that end the answer and are not part of it. `max_tokens` bounds what is generated (sampled and
    forced) and `max_prompt_tokens` the prompt (0: what the context holds): together they are the allowance, which the
    server enforces. `deadline_s` is the time it may take, queue included. `model` is a registry name, or empty for the
    default. `logprobs` asks for the log-probability of each token. A higher `priority` goes first. `space` names whose
    prompts these are (tenant and label): computed prefixes are never shared between spaces.
    """

    messages: tuple[Message, ...]
    schema: dict[str, Any] | None = None
    seed: int = 0
    temperature: float = 0.0
    max_tokens: int = 256
    max_prompt_tokens: int = 0
    deadline_s: float = 60.0
    model: str = ""
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop: tuple[str, ...] = ()
    regex: str = ""
    choices: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Literal["auto", "required"] = "auto"
    parallel_calls: bool = False
    logprobs: bool = False
    priority: int = 0
    space: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer, with enough to check later that this model said this.

    `stop` is `end` (the model or the grammar ended it), `stop` (one of the request's stop texts came), `length`
    (allowance spent: with a schema the text may then not parse) or `deadline`. Digests are hex SHA-256; times are
    milliseconds; `first_token_ms` counts from the request's arrival. `logprobs`, if asked for, are natural logarithms,
    one for each of `token_ids`, of the model's own distribution: before any mask, bias, penalty or temperature.
    """

    text: str
    stop: Literal["end", "stop", "length", "deadline"]
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
    logprobs: tuple[float, ...] = field(default=(), repr=False)
    tool_calls: tuple[ToolUse, ...] = ()
    first_token_ms: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and generated tokens together: what budgets count."""
        return self.prompt_tokens + self.sampled_tokens + self.forced_tokens


@dataclass(frozen=True, slots=True)
class Embedding:
    """The vectors of texts, with enough to check later that this model made them: (texts, width), each of length 1.

    `tokens` is what was computed, which is what budgets count; `prompt_digest` is the hex SHA-256 of their ids, as a
    completion's is. Times are milliseconds.
    """

    vectors: list[list[float]] = field(repr=False)
    model: str
    model_digest: str
    prompt_digest: str
    tokens: int
    queue_ms: int
    device_ms: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well documents answer a query, in their order: what the head of a reranker yields, the higher the better.

    Scores of one model can be compared, and are no probabilities unless its head makes them. `tokens`, `prompt_digest`
    and the times are as in `Embedding`.
    """

    scores: list[float]
    model: str
    model_digest: str
    prompt_digest: str
    tokens: int
    queue_ms: int
    device_ms: int

"""What an agent is given and what it gives back. Plain data: it travels between actors."""

from dataclasses import dataclass
from typing import Any, Protocol

from models.request import Completion, Embedding, Message, Request
from store.records.canonical import Json
from store.records.errors import BailiwickError

VERSION = "3"
"""The version of the agents' prompts and logic; every event an agent causes carries it."""


class Model(Protocol):
    """The handle on a model server: all that an agent holds."""

    async def generate(self, request: Request) -> Completion:
        """One completion. Raises ModelFailed, ContextOverflow or Timeout."""
        ...

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        """A vector of length 1 for each text. Raises ModelFailed, also for texts of more than `max_tokens`."""
        ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one proposal may spend: `calls` completions, each with so many tokens of prompt and answer, and one
    embedding of `texts` tokens. Each call may take so many seconds. The model server enforces it.

    `space` is whose prompts these are: only within it may the model server share what was computed. Of those that wait
    for the model, a higher `priority` goes first.
    """

    tokens: int = 200
    prompt: int = 1500
    seconds: float = 30.0
    seed: int = 0
    calls: int = 1
    texts: int = 0
    space: str = ""
    priority: int = 0

    def request(self, messages: tuple[Message, ...], schema: dict[str, Any]) -> Request:
        """One completion within the allowance."""
        return Request(
            messages,
            schema,
            self.seed,
            max_tokens=self.tokens,
            max_prompt_tokens=self.prompt,
            deadline_s=self.seconds,
            space=self.space,
            priority=self.priority,
        )


@dataclass(frozen=True, slots=True)
class ToolView:
    """As much of a tool record as a model needs."""

    name: str
    description: str
    schema: dict[str, Any]
    write: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """A call that was made and what came of it."""

    tool: str
    arguments: dict[str, Json]
    result: Json
    error: bool = False


@dataclass(frozen=True, slots=True)
class WorkContext:
    """What the worker sees at one turn of its loop. An example is a turn whose result is the situation before it."""

    task: str
    goal: str
    notes: tuple[str, ...]
    examples: tuple[Turn, ...]
    tools: tuple[ToolView, ...]
    turns: tuple[Turn, ...]
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class AskContext:
    """A question with the JSON Schema of its answer."""

    task: str
    question: str
    schema: dict[str, Any]
    data: Json
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class RouteContext:
    """A task and the named descriptions to choose among."""

    task: str
    choices: dict[str, str]
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class Change:
    """One staged effect as the reviewer sees it, with what the core found out about it by itself.

    `target` is the name of what it acts on, empty for a tool that acts on nothing in the inventory.
    """

    tool: str
    description: str
    arguments: dict[str, Json]
    target: str
    target_known: bool
    target_examined: bool
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReviewContext:
    """A change set to judge."""

    task: str
    changes: tuple[Change, ...]
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model: the chat, or the texts to embed, that was put before it, and what it gave back."""

    asked: tuple[Message, ...] | tuple[str, ...]
    given: Completion | Embedding


@dataclass(frozen=True, slots=True)
class Proposal:
    """An agent's answer: a JSON value, and the model calls it rests on, the one it came from last.

    The value is None if the model gave no whole answer. `error` is what ended the proposal after some calls were
    made, which have to be paid for all the same.
    """

    value: Json
    calls: tuple[ModelCall, ...] = ()
    confidence: float = 1.0
    error: BailiwickError | None = None

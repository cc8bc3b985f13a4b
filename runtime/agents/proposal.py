"""What an agent is given and what it gives back. Plain data: it travels between actors."""

from dataclasses import dataclass
from typing import Any, Protocol

from models.request import Completion, Message, Request
from store.records.canonical import Json

VERSION = "1"
"""The version of the agents' prompts and logic; every event an agent causes carries it."""


class Model(Protocol):
    """The handle on a model server: all that an agent holds."""

    async def generate(self, request: Request) -> Completion:
        """One completion. Raises ModelFailed, ContextOverflow or Timeout."""
        ...

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """A vector of length 1 for each text."""
        ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one proposal may spend: `calls` completions, each with so many tokens of prompt and answer, and seconds."""

    tokens: int = 200
    prompt: int = 1500
    seconds: float = 30.0
    seed: int = 0
    calls: int = 1

    @property
    def total(self) -> int:
        """All the tokens it may come to: what the core reserves."""
        return self.calls * (self.tokens + self.prompt)

    def request(self, messages: tuple[Message, ...], schema: dict[str, Any]) -> Request:
        """One completion within the allowance."""
        return Request(
            messages,
            schema,
            self.seed,
            max_tokens=self.tokens,
            max_prompt_tokens=self.prompt,
            deadline_s=self.seconds,
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
class Proposal:
    """An agent's answer: a JSON value, the prompt it was asked with and the completion it came from.

    `earlier` are completions that were made on the way to it.
    """

    value: Json
    messages: tuple[Message, ...]
    completion: Completion | None = None
    confidence: float = 1.0
    earlier: tuple[Completion, ...] = ()

    @property
    def completions(self) -> tuple[Completion, ...]:
        """All that the answer cost."""
        return self.earlier if self.completion is None else (*self.earlier, self.completion)

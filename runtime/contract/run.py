"""The Run: everything a workflow may do. A workflow's code is pure but for these methods.

Every method but the last group is a step: its result is recorded, and a run that is resumed gets the recorded result
instead of doing the thing again.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from runtime.contract.values import Example, Receipt, Staged, Verdict, Work
from store.records.canonical import Json
from store.records.identity import User

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Run(ABC):
    """One run of a workflow, on behalf of `user`, for `task` (the user's own words).

    `attachments` are texts from elsewhere; `tools` the names of all tools there are.
    """

    id: str
    user: User
    task: str
    attachments: tuple[str, ...]
    tools: tuple[str, ...]

    # models

    @abstractmethod
    async def route(self, choices: Mapping[str, str]) -> str:
        """The router's choice among named descriptions for this task. Raises ModelFailed."""

    @abstractmethod
    async def ask(self, schema: type[M], question: str, data: Json = None) -> M:
        """One typed answer from the worker's model. Raises ModelFailed if none fits in the allowance."""

    @abstractmethod
    async def work(
        self,
        goal: str,
        *,
        tools: Sequence[str],
        notes: Sequence[str] = (),
        examples: Sequence[Example] = (),
        turns: int = 4,
    ) -> Work:
        """The agent loop: the model reads through local reads and stages effects, until it says it is done.

        It takes at most `turns` calls, each of one of `tools`. `notes` are texts put before the model; `examples` are
        shown as turns of the chat, the most telling one last, which small models follow better than descriptions.
        Raises ModelFailed if no call was made in the allowance.
        """

    # tools

    @abstractmethod
    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """A local read, now. Raises Denied, ToolFailed, Timeout; a write must be staged."""

    @abstractmethod
    def stage(self, tool: str, /, **arguments: Any) -> Staged:
        """Put an effect into the change set. Nothing happens before `commit`."""

    @abstractmethod
    def discard(self) -> None:
        """Throw the uncommitted change set away."""

    @abstractmethod
    async def review(self) -> Verdict:
        """The reviewer's verdict on the change set. Raises ModelFailed on a no, and on no answer."""

    @abstractmethod
    async def commit(self) -> list[Receipt]:
        """All approvals first, then each effect in turn. Raises Denied if any of them is denied; then none runs."""

    # memory

    @abstractmethod
    async def recall(self, query: str, limit: int = 3) -> list[Any]:
        """The nearest memories of this tenant: objects with `text`, `tags` and `run`."""

    @abstractmethod
    async def remember(self, text: str, tags: Mapping[str, str]) -> None:
        """Keep a text for later runs of this tenant."""

    # values that would differ on replay

    @abstractmethod
    async def now(self) -> datetime:
        """The time in UTC."""

    @abstractmethod
    async def uuid(self) -> str:
        """A fresh random UUID."""

    @abstractmethod
    async def random(self) -> float:
        """A fresh random number from 0 up to 1."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait. A run that is resumed in the middle of it waits anew; one that had waited does not."""

    @abstractmethod
    async def step(self, compute: Callable[..., T], /, *arguments: Json) -> T:
        """The result of a pure computation, recorded. Result and arguments are JSON."""

    # the rest

    @abstractmethod
    async def gather(self, *branches: Callable[[], Awaitable[T]]) -> list[T]:
        """Run branches at once, each with step ids of its own; results in the order of the branches."""

    @abstractmethod
    def emit(self, text: str) -> None:
        """Tell whoever watches. Provisional: it may come again when the run resumes."""

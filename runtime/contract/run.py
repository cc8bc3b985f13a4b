"""The Run: everything a workflow may do. A workflow's code is pure but for these methods.

A method that is awaited is a step, or made of steps: its result is recorded, and a run that is resumed gets the
recorded result instead of doing the thing again. Steps are taken at once only through `gather` and `first`.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel

from runtime.contract.values import Backoff, Example, Planned, Receipt, Staged, Verdict, Work
from store.records.canonical import Json
from store.records.errors import Timeout
from store.records.identity import User

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
USUAL = Backoff()
NOTHING: Mapping[str, Json] = MappingProxyType({})


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

    @abstractmethod
    async def plan(
        self,
        goal: str,
        *,
        tools: Sequence[str],
        readers: Sequence[type[BaseModel]] = (),
        constants: Mapping[str, Json] = NOTHING,
        data: Mapping[str, Json] = NOTHING,
        steps: int = 6,
    ) -> Planned:
        """A frozen plan, for a task that touches what is not trusted: written, carried out, reviewed and committed.

        The model writes at most `steps` steps before anything is read, from what the user typed and from the workflow's
        goal, `constants` (declared with `const`) and the names of `tools`, `readers` and `data`. Each step is a call of
        one of `tools`, or has one of `readers` (a model call without tools) make a value of its schema out of another;
        it may be done for each item of a list. Arguments come from the user's own words, the constants, the `data` and
        the steps before. Nothing that is read can change the plan, and from then on the gate refuses every other call
        that a model of this run decides.

        Raises ModelFailed for a plan that is not valid, a value that does not fit, and the reviewer's no; ToolFailed as
        `call` does; Denied as `commit` does.
        """

    # tools

    @abstractmethod
    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """A local read, now. Raises Denied, ToolFailed, Timeout; a write must be staged."""

    @abstractmethod
    def stage(self, tool: str, /, **arguments: Any) -> Staged:
        """Put an effect into the change set. Nothing happens before `commit`."""

    @abstractmethod
    def const(self, value: T) -> T:
        """The value, declared as a constant of the workflow: as trusted in a call as what the user typed.

        For what stands in the workflow's own text, and nothing that it was given: whatever is declared, and each single
        value in it, is trusted in any call of this run from then on. Raises SettingsError if it is not plain JSON.
        """

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
    async def step(self, compute: Callable[..., T], /, *arguments: Json) -> T:
        """The result of a pure computation, recorded. Result and arguments are JSON."""

    # waiting. A run that waits costs nothing, takes as long as it takes, and outlives the runtime

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait until a time that is fixed when the sleep begins, whatever happens to the runtime meanwhile."""

    @abstractmethod
    async def wait(self, signal: str, schema: type[M]) -> M:
        """The next signal of this name that the run was or will be sent. Raises SettingsError if it does not fit.

        A signal that comes before the wait is kept for it; each is taken once, in the order in which they came.
        """

    @abstractmethod
    async def input(self, schema: type[M], question: str, *, to: str = "", expires_s: float | None = None) -> M:
        """A person's answer to a question; `to` names who may give it, a user or a role (empty: the run's own user).

        Raises Timeout if nobody has answered after `expires_s` seconds.
        """

    @abstractmethod
    async def child(self, workflow: str, task: str, input: BaseModel | None = None) -> Any:
        """The result of a run of its own, for the same user and with this run's labels, which it joins to its own.

        It may use no tool that this workflow may not. Raises ChildFailed unless it ends as completed.
        """

    # branches

    @abstractmethod
    async def gather(self, *branches: Callable[[], Awaitable[T]]) -> list[T]:
        """Run branches at once, each with step ids of its own; results in the order of the branches."""

    @abstractmethod
    async def first(self, *branches: Callable[[], Awaitable[T]]) -> tuple[int, T]:
        """Run branches at once until one ends: its index and its result, or its error.

        The others are stopped at their next await, what they staged is thrown away; but a commit is never broken off.
        """

    async def limit(self, seconds: float, branch: Callable[[], Awaitable[T]]) -> T:
        """What `branch` comes to. Raises Timeout if that takes longer than `seconds`, and stops it as `first` does."""

        async def late() -> Any:
            await self.sleep(seconds)

        index, value = await self.first(branch, late)
        if index == 1:
            raise Timeout(f"a step did not end within {seconds:g} s", self.id)
        result: T = value
        return result

    @abstractmethod
    async def retry(self, branch: Callable[[], Awaitable[T]], backoff: Backoff = USUAL) -> T:
        """What `branch` comes to, tried again after ToolFailed and Timeout, with longer and longer pauses.

        Raises DeadLetter when `backoff` allows no more; uncaught, it parks the run until `bailiwick runs retry`. What a
        failed attempt staged is thrown away.
        """

    # the rest

    @abstractmethod
    def patched(self, name: str) -> bool:
        """Whether this run takes the changed way: true for a run that had not come by here when the change was made.

        The way to change a workflow that has open runs without a new version of it.
        """

    @abstractmethod
    def emit(self, text: str) -> None:
        """Tell whoever watches. Provisional: it may come again when the run resumes."""

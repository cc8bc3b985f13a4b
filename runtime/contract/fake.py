"""FakeRun: a Run without a model or a world, to test a workflow's own logic.

Reads and effects are answered by functions the test gives; model steps by answers the test gives, in order. What the
workflow staged, committed, remembered and emitted can be looked at afterwards.
"""

import os
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from runtime.contract.run import NOTHING, USUAL, M, Run
from runtime.contract.values import Backoff, Example, Planned, Receipt, Ref, Staged, Verdict, Work, record
from store.records.canonical import Json, canonical, parse
from store.records.errors import BailiwickError, DeadLetter, Denied, ModelFailed, SettingsError, Timeout, ToolFailed
from store.records.identity import User

T = TypeVar("T")
Tool = Callable[..., Json]
LAST = datetime.max.replace(tzinfo=UTC)


@dataclass
class FakeRun(Run):
    """A Run for tests.

    `world` maps a tool's name to a function of its arguments. `answers` are popped by `route`, `ask`, `work`,
    `plan` and `input` in turn; an exception among them is raised. `approve` is the reviewer's and `allow` the policy's
    word. `signals` are those to come, by name; `children` maps a workflow to a function of a task and an input;
    `patches` says which changes the run is too old for. Time is `clock`, which only sleeping moves.
    """

    task: str = "a task"
    world: Mapping[str, Tool] = field(default_factory=dict)
    answers: list[Any] = field(default_factory=list)
    memories: list[Any] = field(default_factory=list)
    attachments: tuple[str, ...] = ()
    approve: bool = True
    allow: bool = True
    clock: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    signals: Mapping[str, list[Any]] = field(default_factory=dict)
    children: Mapping[str, Callable[[str, Json], Json]] = field(default_factory=dict)
    patches: Mapping[str, bool] = field(default_factory=dict)

    id: str = "fake"
    user: User = field(default_factory=lambda: User("tester", 1000, "test", "test"))
    staged: list[Staged] = field(default_factory=list)
    committed: list[Receipt] = field(default_factory=list)
    emitted: list[str] = field(default_factory=list)
    reviewed: bool = False

    def __post_init__(self) -> None:
        """The tools are those of the world; nothing has a limit."""
        self.tools = tuple(sorted(self.world))
        self._due = LAST

    def _answer(self, step: str) -> Any:
        if not self.answers:
            raise SettingsError(f"FakeRun has no answer left for {step}", do="give it one in `answers`")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _use(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        if tool not in self.world:
            raise SettingsError(f"FakeRun has no tool {tool!r}", do="give it one in `world`")
        return record(self.world[tool](**arguments))

    async def route(self, choices: Mapping[str, str]) -> str:
        choice = self._answer("route")
        if choice not in choices:
            raise ModelFailed(f"the answer {choice!r} is not among the choices")
        return str(choice)

    async def ask(self, schema: type[M], question: str, data: Json = None) -> M:
        answer = self._answer(f"ask {question!r}")
        try:
            return schema.model_validate(answer.model_dump() if isinstance(answer, BaseModel) else answer)
        except ValidationError as error:
            raise ModelFailed("the answer does not fit its model", f"{error.error_count()} wrong") from None

    async def work(
        self,
        goal: str,
        *,
        tools: Sequence[str],
        notes: Sequence[str] = (),
        examples: Sequence[Example] = (),
        turns: int = 4,
    ) -> Work:
        answer = self._answer(f"work {goal!r}")
        if not isinstance(answer, Work):
            raise SettingsError("FakeRun needs a Work as the answer to work()", do="build it with runtime's Work")
        for staged in answer.staged:
            self.stage(staged.tool, **staged.arguments)
        return answer

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
        """As a Run in which the plan comes to the answer, a Planned; `committed` has its effects, too."""
        answer = self._answer(f"plan {goal!r}")
        if not isinstance(answer, Planned):
            raise SettingsError("FakeRun needs a Planned as the answer to plan()", do="build it from `bailiwick`")
        if strange := {each.tool for each in answer.receipts}.difference(tools):
            raise SettingsError(f"the plan was not given the tool {min(strange)!r}", do="name it in `tools`")
        if answer.receipts and not self.approve:
            raise ModelFailed("the reviewer said no")
        if answer.receipts and not self.allow:
            raise Denied("FakeRun denies")
        self.committed += answer.receipts
        return replace(answer, values=record(answer.values))

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        return self._use(tool, arguments)

    def stage(self, tool: str, /, **arguments: Any) -> Staged:
        staged = Staged(str(len(self.staged) + 1), tool, arguments)
        self.staged.append(staged)
        self.reviewed = False
        return staged

    def const(self, value: T) -> T:
        try:
            canonical(value)
        except (ValueError, TypeError, RecursionError):
            raise SettingsError("a constant must be plain JSON", "FakeRun") from None
        return value

    def discard(self) -> None:
        self.staged.clear()
        self.reviewed = False

    async def review(self) -> Verdict:
        if not self.approve:
            raise ModelFailed("the reviewer said no")
        self.reviewed = True
        return Verdict(True, "FakeRun approves")

    async def commit(self) -> list[Receipt]:
        """As in a Run, but that nothing is undone: `committed` keeps what happened before an effect that failed."""
        if not self.reviewed:
            raise Denied("the change set was not reviewed", do="call review() before commit()")
        effects = tuple(self.staged)
        self.discard()
        if not self.allow:
            raise Denied("FakeRun denies")
        results: dict[str, Any] = {}
        receipts = []
        for staged in effects:
            arguments = {
                name: results[value.step][value.field] if isinstance(value, Ref) else value
                for name, value in staged.arguments.items()
            }
            results[staged.step] = self._use(staged.tool, arguments)
            receipts.append(Receipt(staged.step, staged.tool, f"fake/{staged.step}", results[staged.step]))
            self.committed.append(receipts[-1])
        return receipts

    async def recall(self, query: str, limit: int = 3) -> list[Any]:
        return [record(memory) for memory in self.memories[:limit]]

    async def remember(self, text: str, tags: Mapping[str, str]) -> None:
        self.memories.append({"text": text, "tags": dict(tags), "run": self.id})

    async def now(self) -> datetime:
        return self.clock

    async def uuid(self) -> str:
        return str(uuid.uuid4())

    async def random(self) -> float:
        return int.from_bytes(os.urandom(6)) / 2**48

    async def sleep(self, seconds: float) -> None:
        until = self.clock + timedelta(seconds=seconds)
        self.clock = min(until, self._due)
        if until > self._due:
            raise _Late

    async def step(self, compute: Callable[..., T], /, *arguments: Json) -> T:
        value: T = parse(canonical(compute(*arguments)))
        return value

    async def wait(self, signal: str, schema: type[M]) -> M:
        if not self.signals.get(signal):
            raise Never(f"FakeRun has no signal {signal!r} left", do="give it one in `signals`")
        return _fitting(schema, self.signals[signal].pop(0), f"the signal {signal!r}")

    async def input(self, schema: type[M], question: str, *, to: str = "", expires_s: float | None = None) -> M:
        return _fitting(schema, self._answer(f"input {question!r}"), "the answer")

    async def child(self, workflow: str, task: str, input: BaseModel | None = None) -> Any:
        if workflow not in self.children:
            raise SettingsError(f"FakeRun has no workflow {workflow!r}", do="give it one in `children`")
        return record(self.children[workflow](task, None if input is None else input.model_dump(mode="json")))

    async def gather(self, *branches: Callable[[], Awaitable[T]]) -> list[T]:
        """All branches, one after another, each from the same time; it is then as late as the last of them ends."""
        begun, ends, results = self.clock, [self.clock], []
        for branch in branches:
            self.clock = begun
            results.append(await branch())
            ends.append(self.clock)
        self.clock = max(ends)
        return results

    async def first(self, *branches: Callable[[], Awaitable[T]]) -> tuple[int, T]:
        """The branch that sleeps the least. All of them are run, one after another."""
        begun, staged = self.clock, list(self.staged)
        ends: list[tuple[datetime, int, list[Staged], T | BailiwickError | _Late]] = []
        for index, branch in enumerate(branches):
            self.clock, self.staged = begun, list(staged)
            try:
                result: T | BailiwickError = await branch()
            except (Never, _Late) as never:
                if len(branches) == 1:
                    raise
                ends.append((LAST, index, self.staged, never))
                continue
            except BailiwickError as error:
                result, self.staged = error, list(staged)
            ends.append((self.clock, index, self.staged, result))
        self.clock, winner, self.staged, value = min(ends, key=lambda end: end[:2])
        if isinstance(value, BailiwickError | _Late):
            raise value
        return winner, value

    async def limit(self, seconds: float, branch: Callable[[], Awaitable[T]]) -> T:
        """As in a Run, by the clock that sleeping moves: what would sleep past the limit is stopped there."""
        outer, staged = self._due, list(self.staged)
        mine = self._due = min(outer, self.clock + timedelta(seconds=seconds))
        try:
            return await branch()
        except (Never, _Late):
            self.clock, self.staged = mine, staged
            if mine == outer:
                raise
            raise Timeout(f"a step did not end within {seconds:g} s", self.id) from None
        except BailiwickError:
            self.staged = staged
            raise
        finally:
            self._due = outer

    async def retry(self, branch: Callable[[], Awaitable[T]], backoff: Backoff = USUAL) -> T:
        for attempt in range(1, backoff.attempts + 1):
            try:
                return (await self.first(branch))[1]
            except (ToolFailed, Timeout) as error:
                last = error
            if attempt < backoff.attempts:
                await self.sleep(backoff.pause(attempt, 1.0))
        raise DeadLetter(f"a step failed {backoff.attempts} times, the last time with: {last.what}")

    def patched(self, name: str) -> bool:
        return self.patches.get(name, True)

    def emit(self, text: str) -> None:
        self.emitted.append(text)


class Never(SettingsError):
    """What is waited for does not come in this test."""


class _Late(BaseException):
    """The limit is over: no workflow catches this."""


def _fitting(schema: type[M], value: Any, what: str) -> M:
    try:
        return schema.model_validate(value.model_dump() if isinstance(value, BaseModel) else value)
    except ValidationError as error:
        raise SettingsError(f"{what} does not fit {schema.__name__}", f"{error.error_count()} wrong") from None

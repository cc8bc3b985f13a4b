"""The Run that workflows really get: every method is a step of the conductor's."""

import asyncio
import random as dice
import uuid as ids
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from runtime.agents.proposal import Turn
from runtime.conductor.branch import current, within
from runtime.conductor.changes import ChangeSet, staged_here
from runtime.conductor.journal import fingerprint
from runtime.conductor.meter import columns, most_tokens, told
from runtime.conductor.scope import Done, Scope
from runtime.conductor.thinking import Brief, Thinking
from runtime.contract.run import M, Run
from runtime.contract.values import Example, Receipt, Staged, Verdict, Work, record
from store.records.canonical import Json, canonical, parse
from store.records.errors import ModelFailed, SettingsError, ToolFailed
from store.records.kinds import Kind

T = TypeVar("T")


class LiveRun(Run):
    """One run, live or replayed: the workflow cannot tell."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        staged_here.set(ChangeSet(scope))
        self._turns: list[Turn] = []
        self._thinking = Thinking(scope, self._turns)
        self.id, self.user, self.task = scope.run, scope.user, scope.task
        self.attachments, self.tools = scope.attachments, _usable(scope)

    @property
    def _changes(self) -> ChangeSet:
        return staged_here.get()

    @property
    def uncommitted(self) -> list[Staged]:
        """The staged effects that nobody committed."""
        return self._changes.effects

    def to_rules(self) -> None:
        """From here on the fallback's rules act, with the run's labels and an empty change set."""
        self._scope.by_rule = True
        self._changes.discard()

    async def route(self, choices: Mapping[str, str]) -> str:
        return await self._thinking.route(choices)

    async def ask(self, schema: type[M], question: str, data: Json = None) -> M:
        value = await self._thinking.ask(schema.model_json_schema(), question, data)
        try:
            return schema.model_validate(value)
        except ValidationError as error:  # rules that a JSON Schema does not show
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
        return await self._thinking.work(Brief(goal, tuple(tools), tuple(notes), tuple(examples)), turns)

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        if not self._scope.tool(tool).local_read:
            raise SettingsError("only a local read runs at once", tool, "use run.stage")
        result, failed = await self._scope.read(tool, arguments, by="rule")
        self._turns.append(Turn(tool, arguments, result, failed))
        if failed:
            raise ToolFailed("the tool answered with an error", tool)
        return record(result)

    def stage(self, tool: str, /, **arguments: Any) -> Staged:
        return self._changes.stage(tool, arguments, by="rule")

    def discard(self) -> None:
        self._changes.discard()

    async def review(self) -> Verdict:
        shown = tuple(self._changes.effects)
        verdict = await self._thinking.review(shown)
        self._changes.reviewed = shown == tuple(self._changes.effects)
        return verdict

    async def commit(self) -> list[Receipt]:
        return await self._changes.commit()

    async def recall(self, query: str, limit: int = 3) -> list[Any]:
        scope = self._scope

        async def live(path: str) -> Done:
            async with scope.metered(path, self._texts(query)) as meter:
                found = await scope.services.memory.recall(scope.user.tenant, query, limit, meter)
            labels = [label for _, label in found]
            joined = labels[0].join(*labels[1:]) if labels else None
            return Done([value for value, _ in found], joined, columns(meter.last), told(meter.last))

        return [record(each) for each in await scope.step("recall", "", [query, limit], live)]

    async def remember(self, text: str, tags: Mapping[str, str]) -> None:
        scope = self._scope

        async def live(path: str) -> Done:
            async with scope.metered(path, self._texts(text)) as meter:
                await scope.services.memory.remember(
                    id=f"{scope.run}/{path}",
                    tenant=scope.user.tenant,
                    user=scope.user.name,
                    text=text,
                    tags=tags,
                    labels=scope.labels,
                    run=scope.run,
                    meter=meter,
                )
            return Done(None, None, columns(meter.last), told(meter.last))

        await scope.step("remember", "", [text, dict(tags)], live)

    async def now(self) -> datetime:
        return datetime.fromisoformat(await self._value("now", lambda: datetime.now(UTC).isoformat()))

    async def uuid(self) -> str:
        return str(await self._value("uuid", lambda: str(ids.uuid4())))

    async def random(self) -> float:
        return float(await self._value("random", dice.SystemRandom().random))

    async def sleep(self, seconds: float) -> None:
        async def live(_path: str) -> Done:
            await asyncio.sleep(seconds)
            return Done(None)

        await self._scope.step("sleep", "", seconds, live)

    async def step(self, compute: Callable[..., T], /, *arguments: Json) -> T:
        async def live(_path: str) -> Done:
            return Done(parse(canonical(compute(*arguments))))

        value: T = await self._scope.step("step", compute.__qualname__, list(arguments), live)
        return value

    async def gather(self, *branches: Callable[[], Awaitable[T]]) -> list[T]:
        path = current.get().next()
        sets = [ChangeSet(self._scope) for _ in branches]

        async def alone(index: int, branch: Callable[[], Awaitable[T]]) -> T:
            staged_here.set(sets[index])  # in this task's own context
            return await within(f"{path}.{index + 1}", branch)

        try:
            return await _all([alone(index, branch) for index, branch in enumerate(branches)])
        finally:
            for each in sets:
                self._changes.take_over(each)

    def emit(self, text: str) -> None:
        path = current.get().next()
        mark = fingerprint("emit", "", text)
        if not self._scope.journal.was_noted(path, mark, "emit"):
            draft = self._scope.draft(Kind.NOTE, path, fingerprint=mark)
            self._scope.services.recorder.append(draft, {"kind": "emit", "text": text})

    def _texts(self, text: str) -> int:
        """The most tokens that embedding a text for the memory may take."""
        return min(most_tokens(text), self._scope.services.settings.prompt_tokens_per_proposal)

    async def _value(self, kind: str, make: Callable[[], Json]) -> Json:
        async def live(_path: str) -> Done:
            return Done(make())

        return await self._scope.step(kind, "", None, live)


def _usable(scope: Scope) -> tuple[str, ...]:
    """The tools there are, but for those that only say what became of another's effect."""
    records = scope.services.records
    reconcilers = {record.reconcile for record in records.values()}
    return tuple(sorted(set(records) - reconcilers))


async def _all(tasks: Sequence[Awaitable[T]]) -> list[T]:
    """The results of all; the first error is raised when every branch has ended, so that none is left running."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]

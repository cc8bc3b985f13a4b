"""The Run that workflows really get: every method is a step of the conductor's."""

import random as dice
import uuid as ids
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from runtime.agents.proposal import Turn
from runtime.conductor import loop
from runtime.conductor.branch import current
from runtime.conductor.changes import ChangeSet, staged_here
from runtime.conductor.concurrent import first, gather
from runtime.conductor.done import Done
from runtime.conductor.journal import fingerprint
from runtime.conductor.loop import Brief
from runtime.conductor.meter import EMBED_S, Most, columns, most_tokens, told
from runtime.conductor.plans.carrying import carry_out, plain
from runtime.conductor.plans.planner import Order
from runtime.conductor.scope import Scope
from runtime.conductor.thinking import Thinking
from runtime.conductor.waits import Waits
from runtime.contract.run import NOTHING, USUAL, M, Run
from runtime.contract.values import Backoff, Example, Planned, Receipt, Staged, Verdict, Work, record
from store.records.canonical import Json
from store.records.errors import DeadLetter, ModelFailed, SettingsError, Timeout, ToolFailed
from store.records.kinds import Kind

T = TypeVar("T")


class LiveRun(Run):
    """One run, live or replayed: the workflow cannot tell."""

    def __init__(self, scope: Scope, waits: Waits) -> None:
        self._scope = scope
        staged_here.set(ChangeSet(scope))
        self._turns: list[Turn] = []
        self._thinking = Thinking(scope, self._turns)
        self._waits = waits
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
        return await loop.work(self._thinking, Brief(goal, tuple(tools), tuple(notes), tuple(examples)), turns)

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
        named = {each.__name__: each for each in readers}
        order = Order(goal, tuple(tools), named, plain(constants), plain(data), steps)
        return await carry_out(self, self._thinking, order)

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

    def const(self, value: T) -> T:
        scope = self._scope
        try:
            scope.grounds = scope.grounds.declaring(value)
        except (ValueError, TypeError, RecursionError):
            raise SettingsError("a constant must be plain JSON", f"run {scope.run}") from None
        return value

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
            return Done(
                [value for value, _ in found],
                joined,
                columns(meter.last, scope.services.settings.rates),
                told(meter.last),
            )

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
            return Done(None, None, columns(meter.last, scope.services.settings.rates), told(meter.last))

        await scope.step("remember", "", [text, dict(tags)], live)

    async def now(self) -> datetime:
        return datetime.fromisoformat(await self._value("now", lambda: datetime.now(UTC).isoformat()))

    async def uuid(self) -> str:
        return str(await self._value("uuid", lambda: str(ids.uuid4())))

    async def random(self) -> float:
        return float(await self._value("random", dice.SystemRandom().random))

    async def sleep(self, seconds: float) -> None:
        await self._waits.sleep(seconds)

    async def wait(self, signal: str, schema: type[M]) -> M:
        return _model(schema, await self._waits.signal(signal), f"the signal {signal!r}")

    async def input(self, schema: type[M], question: str, *, to: str = "", expires_s: float | None = None) -> M:
        value = await self._waits.answer(question, schema.model_json_schema(), to, expires_s)
        return _model(schema, value, "the answer")

    async def child(self, workflow: str, task: str, input: BaseModel | None = None) -> Any:
        scope, given = self._scope, None if input is None else input.model_dump(mode="json")

        async def live(path: str) -> Done:
            with scope.clock.stopped():
                return await scope.children.child(scope, path, workflow, task, given)

        return record(await scope.step("child", workflow, {"task": task, "input": given}, live))

    async def step(self, compute: Callable[..., T], /, *arguments: Json) -> T:
        async def live(_path: str) -> Done:
            return Done(compute(*arguments))

        value: T = await self._scope.step("step", compute.__qualname__, list(arguments), live)
        return value

    async def gather(self, *branches: Callable[[], Awaitable[T]]) -> list[T]:
        return await gather(self._scope, branches)

    async def first(self, *branches: Callable[[], Awaitable[T]]) -> tuple[int, T]:
        return await first(self._scope, branches)

    async def retry(self, branch: Callable[[], Awaitable[T]], backoff: Backoff = USUAL) -> T:
        path = current.get().next()
        allowed = backoff.attempts * (1 + self._scope.journal.retried[path])
        for attempt in range(1, allowed + 1):
            try:
                return (await self.first(branch))[1]
            except (ToolFailed, Timeout) as error:
                last = error
            if attempt < allowed:
                await self.sleep(backoff.pause(attempt, await self.random()))
        self._scope.dead_letter = path
        what = f"a step failed {allowed} times, the last time with: {last.what}"
        raise DeadLetter(what, f"run {self.id}, step {path}", "see to it, then `bailiwick runs retry`")

    def patched(self, name: str) -> bool:
        scope = self._scope
        scope.check_parked()
        if name not in scope.patches:
            known = name in scope.journal.patches
            scope.patches[name] = known or not (scope.turns.replaying or scope.journal.ahead)
            if scope.patches[name] and not known:
                scope.services.recorder.append(scope.draft(Kind.RUN_PATCHED, decision=name))
        return scope.patches[name]

    def emit(self, text: str) -> None:
        self._scope.check_parked()
        path = current.get().next()
        mark = fingerprint("emit", "", text)
        if not self._scope.journal.was_noted(path, mark, "emit"):
            draft = self._scope.draft(Kind.NOTE, path, fingerprint=mark)
            self._scope.services.recorder.append(draft, {"kind": "emit", "text": text})

    def _texts(self, text: str) -> Most:
        """The most that embedding a text for the memory may take."""
        tokens = min(most_tokens(text), self._scope.services.settings.prompt_tokens_per_proposal)
        return Most(tokens, device_ms=round(1000 * EMBED_S))

    async def _value(self, kind: str, make: Callable[[], Json]) -> Json:
        async def live(_path: str) -> Done:
            return Done(make())

        return await self._scope.step(kind, "", None, live)


def _usable(scope: Scope) -> tuple[str, ...]:
    """The tools there are, but for those that only say what became of another's effect."""
    records = scope.services.records
    reconcilers = {record.reconcile for record in records.values()}
    return tuple(sorted(set(records) - reconcilers))


def _model(schema: type[M], value: Json, what: str) -> M:
    """What a person or program sent, as the workflow declared it. Raises SettingsError without repeating any of it."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise SettingsError(f"{what} does not fit {schema.__name__}", f"{error.error_count()} wrong") from None

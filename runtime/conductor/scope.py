"""The scope of one run: who and what it is for, what it has recorded, and how a step is taken.

Everything a run does goes through `step`: replayed if it is recorded, else done and recorded.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from runtime.agents.proposal import AskContext, ModelCall, Proposal, ReviewContext, RouteContext, WorkContext
from runtime.conductor.branch import current
from runtime.conductor.clock import Clock
from runtime.conductor.journal import Journal, fingerprint
from runtime.conductor.meter import Meter, columns, told
from runtime.conductor.parking import PARKS, raise_parking
from runtime.conductor.turns import Turns
from runtime.contract.workflow import Workflow
from runtime.gate.build import Gatehouse
from runtime.gate.call import ToolCall
from runtime.gate.inventory import Inventory
from runtime.gate.recorder import Recorder
from runtime.settings import Settings
from store.records.canonical import Json, canonical, parse
from store.records.errors import (
    BailiwickError,
    DeadLetter,
    Denied,
    SettingsError,
    Unreachable,
    describe,
)
from store.records.event import Draft, Event
from store.records.identity import Agent, Principal, User
from store.records.kinds import Kind
from store.records.labels import Labels
from tools.record import ToolRecord

CORE_VERSION = "1"


T = TypeVar("T")
BREATH = 16
"""After so many steps a run lets the event loop do what else there is."""


def _recordable(done: "Done") -> "Done":
    """What a step came to, as a replay will find it: with keys in another order, say. Raises SettingsError."""
    try:
        return replace(done, value=parse(canonical(done.value)))
    except (ValueError, TypeError, RecursionError):
        raise SettingsError("the result of a step is not JSON that can be kept") from None


class Agents(Protocol):
    """The three agents, wherever they run. Each call is one proposal; a dead agent is restarted and asked again."""

    async def work(self, context: WorkContext) -> Proposal: ...
    async def ask(self, context: AskContext) -> Proposal: ...
    async def route(self, context: RouteContext) -> Proposal: ...
    async def review(self, context: ReviewContext) -> Proposal: ...


class Memories(Protocol):
    """What recall and remember need of the store's memory. What it has embedded it puts on the meter."""

    async def remember(
        self,
        *,
        id: str,
        tenant: str,
        user: str,
        text: str,
        tags: Mapping[str, str],
        labels: Labels,
        run: str,
        meter: Meter,
    ) -> None: ...
    async def recall(self, tenant: str, query: str, limit: int, meter: Meter) -> list[tuple[Json, Labels]]: ...


class Approver(Protocol):
    """Where a suspended call waits for a person."""

    async def wait(self, draft: Draft, view: dict[str, Any], request: Event | None) -> Event:
        """Put the request on record, unless it is there as `request`, and wait for the answer, which is an event.

        An expired request is a no.
        """
        ...


class Children(Protocol):
    """Where a run has other runs made and awaits them."""

    async def child(self, parent: "Scope", path: str, workflow: str, task: str, input: Json) -> "Done":
        """What the run that belongs to this step of `parent` comes to; begun, if it is not yet."""
        ...


@dataclass(frozen=True)
class Services:
    """What the core lends to its runs."""

    recorder: Recorder
    gate: Gatehouse
    policy_digest: str
    agents: Agents
    memory: Memories
    approver: Approver
    settings: Settings
    records: Mapping[str, ToolRecord]
    inventory: Inventory


@dataclass(frozen=True, slots=True)
class Done:
    """What a step came to: its value, its labels, the fields of its event, and what an auditor may ask for.

    With `error` it failed after all, and the rest says what the failure cost and how it came about.
    """

    value: Json
    labels: Labels | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    detail: Json = None
    error: BailiwickError | None = None


@dataclass
class Scope:
    """One run.

    `rights` are the tools that it may use at all (None: any), `dead_letter` is the step that failed too often,
    `patches` what `patched` has answered, `parked` what parks the run and `awaited` the runs that it waits for then.
    `stopping` is the event that told the run to stop before its next step; `ending` says that the runtime ends, `over`
    that this life of the run does, `ended` that the run has. `steps` counts those of this life.
    """

    run: str
    user: User
    task: str
    attachments: tuple[str, ...]
    seed: int
    workflow: Workflow
    journal: Journal
    labels: Labels
    services: Services
    clock: Clock
    turns: Turns
    children: "Children"
    input: Json = None
    rights: frozenset[str] | None = None
    by_rule: bool = False
    by_model: bool = False
    denial: Denied | None = None
    parked: BailiwickError | None = None
    dead_letter: str = ""
    awaited: set[str] = field(default_factory=set)
    patches: dict[str, bool] = field(default_factory=dict)
    stopping: Kind | None = None
    ending: bool = False
    over: bool = False
    ended: bool = False
    steps: int = 0

    def draft(self, kind: Kind, step: str = "", actor: str = "", **facts: Any) -> Draft:
        """A draft with everything that is the same for all events of this run."""
        return Draft(
            kind=kind,
            tenant=self.user.tenant,
            unit=self.user.unit,
            run=self.run,
            step=step,
            actor=actor or self.agent,
            actor_version=CORE_VERSION,
            principal=self.user.name,
            workflow=self.workflow.name,
            workflow_version=self.workflow.version,
            **facts,
        )

    @property
    def agent(self) -> str:
        """The actor of steps that no model decided: the workflow's own code, or its fallback's rules."""
        return "rule" if self.by_rule else "core"

    def principal(self, by: str) -> Principal:
        """On whose behalf, and by which agent, a call is made; `by` is `model` or `rule`."""
        return Principal(self.user, Agent("worker" if by == "model" else "rule", CORE_VERSION))

    def tool(self, name: str) -> ToolRecord:
        """The record of a tool.

        Raises SettingsError if the workflow names its tools and this is none of them, Unreachable if nobody offers it.
        """
        if self.workflow.tools and name not in self.workflow.tools:
            raise SettingsError(f"the workflow {self.workflow.name} does not name this tool", name, "add it to `tools`")
        if self.rights is not None and name not in self.rights:
            raise SettingsError("the run that began this one may not use this tool", name, "add it to `tools` there")
        record = self.services.records.get(name)
        if record is None:
            raise Unreachable("no such tool", name, "see `bailiwick tools list`")
        return record

    async def step(
        self,
        kind: str,
        name: str,
        arguments: Json,
        live: Callable[[str], Awaitable[Done]],
        *,
        by: str = "rule",
        actor: str = "",
        event: Kind = Kind.STEP_COMPLETED,
    ) -> Json:
        """The value of one step: the recorded one, or that of `live(path)`, which is then recorded.

        An error of the step is recorded too and raised again on replay, but for those in PARKS.
        """
        self.check_parked()
        self.steps += 1
        if self.steps % BREATH == 0:
            await asyncio.sleep(0)  # a run whose steps take no time leaves some to others
        path = current.get().next()
        self.by_model |= by == "model"
        mark = fingerprint(kind, name, arguments)
        entry = self.journal.take(path, mark, f"{kind} {name}")
        if entry is not None:
            await self.turns.take(path)
            self.absorb(entry.labels)
            if entry.error is not None:
                raise self._noted(entry.error)
            return entry.value
        done = await self._away(path, live)
        self.absorb(done.labels)
        payload = {"kind": kind, "name": name, "by": by, "arguments": arguments, "detail": done.detail}
        facts = {**done.facts, "fingerprint": mark, "labels": done.labels or self.labels}
        if done.error is not None:
            facts["decision"] = type(done.error).__name__.lower()
            payload["error"] = describe(done.error)
            self.services.recorder.append(self.draft(Kind.STEP_FAILED, path, actor, **facts), payload)
            raise self._noted(done.error)
        payload["value"] = done.value
        self.services.recorder.append(self.draft(event, path, actor, **facts), payload)
        return payload["value"]

    async def _away(self, path: str, live: Callable[[str], Awaitable[Done]]) -> Done:
        """Do a step while other branches may run. What it began in an earlier life it goes on with at once."""
        begun = path in self.journal.commits
        await self.turns.leave(at_once=begun)
        try:
            if self.stopping and not begun:
                raise asyncio.CancelledError
            done = _recordable(await live(path))
        except PARKS as error:
            self.turns.break_in()
            if not isinstance(error, DeadLetter):
                self.parked = error
            raise
        except BailiwickError as error:
            done = Done(None, self.labels, error=error)
        except Exception as error:
            done = Done(None, self.labels, error=BailiwickError(f"it raised {type(error).__name__}", f"step {path}"))
        except BaseException:
            self.turns.break_in()
            raise
        await self.turns.come_back()
        return done

    def check_parked(self) -> None:
        """Raise again what parks the run: a workflow that catches it does not get round it."""
        if error := self.parked or self.journal.broken:
            raise error

    def _noted(self, error: BailiwickError) -> BailiwickError:
        """The error; a denial is remembered, for no fallback may run after one, even if the workflow catches it."""
        if isinstance(error, Denied):
            self.denial = error
        return error

    def absorb(self, labels: Labels | None) -> None:
        """Join labels into the run's: whatever the run does next may depend on that value."""
        if labels is not None:
            self.labels = self.labels.join(labels)

    def call(self, path: str, record: ToolRecord, arguments: dict[str, Json], by: str) -> ToolCall:
        """A call of this run at a step, with the run's labels."""
        return ToolCall(
            run=self.run,
            step=path,
            record=record,
            arguments=arguments,
            principal=self.principal(by),
            labels=self.labels,
            workflow=self.workflow.name,
            workflow_version=self.workflow.version,
        )

    async def read(self, tool: str, arguments: dict[str, Json], by: str) -> tuple[Json, bool]:
        """A local read through the gate, as a step: its value, and whether the tool called it an error."""
        record = self.tool(tool)

        async def live(path: str) -> Done:
            result = await self.services.gate.call(self.call(path, record, arguments, by))
            facts = {"tool": tool, "tool_digest": record.digest, "cause": result.cause}
            return Done({"result": result.value, "error": result.error}, result.labels, facts)

        value = await self.step("call", tool, arguments, live, by=by)
        return value["result"], value["error"]

    @asynccontextmanager
    async def metered(self, step: str, tokens: int, actor: str = "") -> AsyncIterator[Meter]:
        """Holds `tokens` while the model calls of a step are made, then books what those on the meter cost.

        All calls but the last are put on record, which is for the step's own event to tell; if an error ends the step,
        all. Raises BudgetExceeded before anything is asked.
        """
        async with self.services.gate.budgets.model_call(self.run, self.user, tokens) as bill:
            meter = Meter(tokens)
            try:
                yield meter
            except BailiwickError:
                self._told(step, actor, meter.calls)
                raise
            else:
                self._told(step, actor, meter.calls[:-1])
            finally:
                for call in meter.calls:
                    bill.spend(call.given.tokens, call.given.device_ms)

    def _told(self, step: str, actor: str, calls: list[ModelCall]) -> None:
        """An event for each call."""
        for call in calls:
            draft = self.draft(Kind.MODEL_CALLED, step, actor, labels=self.labels, **columns(call))
            self.services.recorder.append(draft, told(call))

    async def unbroken(self, work: Coroutine[Any, Any, T]) -> T:
        """`work`, which a cancellation of the run or of a branch waits for; only the runtime's end breaks it off."""
        task = asyncio.ensure_future(work)
        interrupted = False
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                interrupted = True
                if self.ending:
                    task.cancel()
        raise_parking([task])
        if interrupted:
            raise asyncio.CancelledError
        return task.result()

    async def durable(self, draft: Draft, payload: Json = None) -> None:
        """Record and wait until it is on disk."""
        await self.services.recorder.append(draft, payload).durable()

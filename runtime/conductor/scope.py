"""The scope of one run: who and what it is for, what it has recorded, and how a step is taken.

Everything a run does goes through `step`: replayed if it is recorded, else done and recorded.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.agents.proposal import VERSION as AGENTS_VERSION
from runtime.agents.proposal import ModelCall
from runtime.conductor.branch import current
from runtime.conductor.clock import Clock
from runtime.conductor.deciding import decided_before, refusal, refused
from runtime.conductor.done import Done, raised, recordable
from runtime.conductor.journal import Journal, fingerprint
from runtime.conductor.meter import Meter, Most, columns, cost, told
from runtime.conductor.parking import PARKS, T, unbroken
from runtime.conductor.services import Services
from runtime.conductor.turns import Turns
from runtime.contract.workflow import Workflow
from runtime.gate.amount import Amount
from runtime.gate.call import ToolCall
from runtime.gate.plan import Placed, Plan
from runtime.gate.provenance.grounds import Grounds
from store.records.canonical import Json
from store.records.errors import BailiwickError, DeadLetter, Denied, Missing, SettingsError, describe
from store.records.event import Draft
from store.records.identity import Agent, Principal, User
from store.records.kinds import Kind
from store.records.labels import Labels
from tools.record import ToolRecord

CORE_VERSION = "1"
BREATH = 16
"""After so many steps a run lets the event loop do what else there is."""


class Children(Protocol):
    """Where a run has other runs made and awaits them."""

    async def child(self, parent: "Scope", path: str, workflow: str, task: str, input: Json) -> Done:
        """What the run that belongs to this step of `parent` comes to; begun, if it is not yet."""
        ...


@dataclass
class Scope:
    """One run.

    `grounds` are what it has to show for the values in its calls: its user's words, its constants, trusted results.
    `plan` is the plan that was frozen last, `placed` the place in a plan of each effect that is staged, by its step.
    `rights` are the tools that it may use at all (None: any), `dead_letter` is the step that failed too often,
    `patches` what `patched` has answered, `parked` what parks the run, `awaited` the runs that it waits for then and
    `away` the error, if something was away that may be back at any time.
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
    grounds: Grounds
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
    away: BailiwickError | None = None
    patches: dict[str, bool] = field(default_factory=dict)
    stopping: Kind | None = None
    ending: bool = False
    over: bool = False
    ended: bool = False
    steps: int = 0
    plan: Plan | None = None
    placed: dict[str, Placed] = field(default_factory=dict)

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
        """On whose behalf, as they are now, and by which agent, a call is made; `by` is `model` or `rule`.

        Both are the runtime's word: a proposal has no field for either. Raises as `check_user`.
        """
        agent = Agent("worker", AGENTS_VERSION) if by == "model" else Agent("rule", CORE_VERSION)
        return Principal(self.check_user(), agent)

    def check_user(self) -> User:
        """The run's user with what is theirs still. Raises UserGone or Unreachable, which park the run."""
        return self.services.users.still(self.user)

    def tool(self, name: str) -> ToolRecord:
        """The record of a tool.

        Raises SettingsError if the workflow names its tools and this is none of them, Missing if nobody offers it.
        """
        if self.workflow.tools and name not in self.workflow.tools:
            raise SettingsError(f"the workflow {self.workflow.name} does not name this tool", name, "add it to `tools`")
        if self.rights is not None and name not in self.rights:
            raise SettingsError("the run that began this one may not use this tool", name, "add it to `tools` there")
        record = self.services.records.get(name)
        if record is None:
            raise Missing("no such tool", name, "see `bailiwick tools list`")
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

        An error of the step is recorded too and raised again on replay, but for those in PARKS. What the workflow lets
        no model decide fails without one being asked; if one has decided it before, the run is parked.
        """
        self.check_parked()
        self.steps += 1
        if self.steps % BREATH == 0:
            await asyncio.sleep(0)  # a run whose steps take no time leaves some to others
        path = current.get().next()
        no = refusal(self.workflow, self.by_rule, kind, name, arguments) if by == "model" else None
        self.by_model |= by == "model" and no is None
        mark = fingerprint(kind, name, arguments)
        entry = self.journal.take(path, mark, f"{kind} {name}")
        if entry is not None:
            if no and entry.error is None:
                self.journal.broken = decided_before(path)
                raise self.journal.broken
            await self.turns.take(path)
            self.absorb(entry.labels)
            if entry.error is not None:
                raise self._noted(entry.error)
            return entry.value
        done = await self._away(path, refused(no) if no else live)
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
            if not begun:
                self.check_user()
            done = recordable(await live(path))
        except PARKS as error:
            self.turns.break_in()
            if not isinstance(error, DeadLetter):
                self.parked = error
            raise
        except BailiwickError as error:
            done = Done(None, self.labels, error=error)
        except Exception as error:
            do = f"`bailiwick audit report {self.run}` says what it said"
            what = BailiwickError(f"it raised {type(error).__name__}", f"step {path}", do)
            done = Done(None, self.labels, detail={"raised": raised(error)}, error=what)
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

    def call(
        self, path: str, record: ToolRecord, arguments: dict[str, Json], by: str, placed: Placed | None = None
    ) -> ToolCall:
        """A call of this run at a step, with the run's labels or those of its place in a frozen plan. Where there is a
        plan, what a model decides and is not `placed` in it is refused by the gate."""
        labels = self.labels if placed is None else placed.labels()
        if placed is None and by == "model" and self.plan is not None:
            placed = Placed(self.plan)
        return ToolCall(
            run=self.run,
            step=path,
            record=record,
            arguments=arguments,
            principal=self.principal(by),
            labels=labels,
            workflow=self.workflow.name,
            workflow_version=self.workflow.version,
            rulings=self.journal.rulings.get(path, ()),
            grounds=self.grounds,
            placed=placed,
        )

    async def read(
        self, tool: str, arguments: dict[str, Json], by: str, placed: Placed | None = None
    ) -> tuple[Json, bool]:
        """A local read through the gate, as a step: its value, and whether the tool called it an error."""
        record = self.tool(tool)

        async def live(path: str) -> Done:
            result = await self.services.gate.call(self.call(path, record, arguments, by, placed))
            facts = {"tool": tool, "tool_digest": record.digest, "cause": result.cause}
            return Done({"result": result.value, "error": result.error}, result.labels, facts)

        value = await self.step("call", tool, arguments, live, by=by)
        if not value["error"]:
            asked = self.call("", record, arguments, by, placed)
            self.grounds = self.services.gate.labelled.learned(asked, value["result"])
        return value["result"], value["error"]

    @asynccontextmanager
    async def metered(self, step: str, most: Most, actor: str = "") -> AsyncIterator[Meter]:
        """Holds the `most` that the model calls of a step may take, then books what those on the meter cost.

        All calls but the last are put on record, which is for the step's own event to tell; if an error ends the step,
        all. Raises BudgetExceeded before anything is asked.
        """
        rates = self.services.settings.rates
        price = rates.most(most.prompt, most.generated, most.device_ms)
        held = Amount(tokens=most.tokens, device_ms=most.device_ms, cost_micros=price)
        principal = Principal(self.user, Agent(actor or self.agent, CORE_VERSION))
        async with self.services.gate.budgets.model_call(self.run, principal, held) as bill:
            meter = Meter(most.tokens)
            try:
                yield meter
            except BailiwickError:
                self._told(step, actor, meter.calls)
                raise
            else:
                self._told(step, actor, meter.calls[:-1])
            finally:
                for call in meter.calls:
                    bill.spend(call.given.tokens, call.given.device_ms, cost(call, rates))

    def _told(self, step: str, actor: str, calls: list[ModelCall]) -> None:
        """An event for each call."""
        for call in calls:
            facts = columns(call, self.services.settings.rates)
            draft = self.draft(Kind.MODEL_CALLED, step, actor, labels=self.labels, **facts)
            self.services.recorder.append(draft, told(call))

    async def unbroken(self, work: Coroutine[Any, Any, T]) -> T:
        """`work`, which a cancellation of the run or of a branch waits for; only the runtime's end breaks it off."""
        return await unbroken(work, lambda: self.ending)

    async def durable(self, draft: Draft, payload: Json = None) -> None:
        """Record and wait until it is on disk."""
        await self.services.recorder.append(draft, payload).durable()

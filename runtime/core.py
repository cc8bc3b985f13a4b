"""The core: the trusted kernel of one runtime. Conductor, gate and ledger in one process, and nothing else in it.

This class knows no Ray; its actor wraps it, and tests run it in their own process.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.conductor.approvals import Approvals
from runtime.conductor.conductor import Conductor
from runtime.conductor.controls import Controls
from runtime.conductor.schedules import Schedules
from runtime.conductor.scope import CORE_VERSION, Agents, Memories, Services
from runtime.contract.workflow import Workflow
from runtime.gate.budgets import Amount, Budgets, Limits
from runtime.gate.build import build
from runtime.gate.host import Host
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.gateway.messages import (
    Answer,
    ApprovalView,
    BackupView,
    ContentScope,
    EventView,
    ForkView,
    GoneView,
    ProofView,
    QuestionView,
    QueueView,
    RunView,
    ScheduleChange,
    ScheduleSpec,
    ScheduleView,
    StorageView,
    Submission,
    TableView,
    VerifyView,
)
from runtime.keeping import Keeping
from runtime.queries import LedgerQueries
from runtime.settings import Settings
from runtime.site_key import site
from runtime.storing import Storing
from runtime.traces.sender import Sender
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.errors import Denied
from store.records.event import Draft
from store.records.identity import User
from store.records.kinds import Kind
from tools.record import ToolRecord

NO_LIMIT = 2**53


@dataclass(frozen=True)
class World:
    """What a core is started with: the tools and who calls them, the agents, the memory, the workflows.

    `models` are those that are loaded, each as `models.server.Loaded`.
    """

    host: Host
    records: Mapping[str, ToolRecord]
    agents: Agents
    memory: Memories
    workflows: Mapping[str, Workflow]
    inventory: Inventory = field(default_factory=Inventory)
    models: Sequence[Mapping[str, Any]] = ()


class Core:
    """One epoch of one runtime, over one data folder."""

    def __init__(self, folder: Path, settings: Settings, world: World) -> None:
        self.ledger = Ledger.open(folder, mirror=settings.mirror_dir, site=site(settings))
        try:
            self._build(settings, world)
        except BaseException:
            self.ledger.close()
            raise

    def _build(self, settings: Settings, world: World) -> None:
        """Put conductor and gate over the ledger. Raises SettingsError if policy and tools do not fit."""
        self._tenant = settings.tenant
        self._days = settings.retention_days
        self.queries = LedgerQueries(self.ledger)
        self.approvals = Approvals(self.ledger, settings.approval_expiry_s)
        judge = Policy.load(settings.policy, tuple(world.records.values()), world.inventory)
        limits = Limits(run=Amount(calls=settings.calls_per_run, tokens=settings.tokens_per_run, device_ms=NO_LIMIT))
        gate = build(
            judge=judge,
            budgets=Budgets(limits),
            host=world.host,
            recorder=self.ledger,
            records=world.records.values(),
            knows=lambda name: name == settings.user.name,
            epoch=self.ledger.epoch,
        )
        gate.replay(self.ledger.events(limit=NO_LIMIT))
        services = Services(
            recorder=self.ledger,
            gate=gate,
            policy_digest=judge.digest,
            agents=world.agents,
            memory=world.memory,
            approver=self.approvals,
            settings=settings,
            records=world.records,
            inventory=world.inventory,
        )
        self.conductor = Conductor(self.ledger, services, world.workflows)
        self.controls = Controls(self.conductor)
        self.schedules = Schedules(self.conductor)
        workflows = {each.name: [each.version, each.source_digest] for each in world.workflows.values()}
        self._note(Kind.CORE_STARTED, {"pid": os.getpid(), "workflows": workflows}, policy_digest=judge.digest)
        self._keep_sources(world.workflows.values())
        self.ledger.watch_mirror(self._mirrored)
        self._loaded(world.models)
        self._hearing: asyncio.Task[None] | None = None
        self._traces = self._sender(settings)

    def hear(self, loads: AsyncIterator[Sequence[Mapping[str, Any]]]) -> None:
        """Record each model that is loaded from now on, until the epoch ends."""

        async def record() -> None:
            async for models in loads:
                self._loaded(models)

        self._hearing = asyncio.create_task(record(), name="hear of models")

    async def submit(self, submission: Submission, user: User) -> str:
        """Start a run; its id once the submission is on disk."""
        return await self.conductor.submit(submission, user)

    async def cancel(self, run: str, user: User, reason: str) -> None:
        """As Controls.cancel."""
        await self.controls.cancel(run, user, reason)

    async def pause(self, run: str, user: User, reason: str) -> None:
        """As Controls.pause."""
        await self.controls.pause(run, user, reason)

    async def signal(self, run: str, name: str, value: Json, user: User) -> None:
        """As Controls.signal."""
        await self.controls.signal(run, name, value, user)

    async def reply(self, run: str, step: str, value: Json, user: User) -> None:
        """As Controls.answer."""
        await self.controls.answer(run, step, value, user)

    async def retry(self, run: str, user: User) -> str:
        """As Controls.retry."""
        return await self.controls.retry(run, user)

    async def fork(self, run: str, step: str, user: User) -> ForkView:
        """As Controls.fork."""
        made, effects = await self.controls.fork(run, step, user)
        return ForkView(run=made, effects=tuple(effects))

    async def settle(self, run: str, step: str, happened: bool, value: Json, user: User, reason: str) -> str:
        """As Controls.settle."""
        return await self.controls.settle(run, step, happened, value, user, reason)

    async def questions(self) -> list[QuestionView]:
        """What runs ask people."""
        return [
            QuestionView(run=run, step=q.step, question=q.question, form=q.schema, to=q.to, since=q.since, due=q.due)
            for run, waits in self.conductor.live.items()
            for q in waits.questions.values()
            if not q.answer.done()
        ]

    async def halt(self, user: User, reason: str) -> None:
        """As Controls.halt."""
        await self.controls.halt(user, reason)

    async def release(self, user: User, reason: str) -> list[str]:
        """As Controls.release."""
        return await self.controls.release(user, reason)

    async def resume(self, run: str = "", user: User | None = None) -> list[str]:
        """As Controls.resume on behalf of a user, as Conductor.resume at a start."""
        return self.conductor.resume(run) if user is None else await self.controls.resume(run, user)

    async def runs(self, limit: int) -> list[RunView]:
        """As Queries.runs, with what waits for a person marked as waiting."""
        return [self._live(view) for view in await self.queries.runs(limit)]

    async def run(self, run: str) -> RunView:
        """As Queries.run."""
        return self._live(await self.queries.run(run))

    async def events(self, after: int, run: str, limit: int, payloads: bool, wait_s: float) -> list[EventView]:
        """As Queries.events; if there is none yet, waits up to `wait_s` seconds for one."""
        last = self.ledger.last_seq()  # before the query: what comes while it runs must end the wait
        found = await self.queries.events(after, run, limit, payloads)
        if not found and wait_s > 0 and await self.ledger.beyond(last, wait_s):
            found = await self.queries.events(after, run, limit, payloads)
        return found

    async def sql(self, query: str) -> TableView:
        """As Queries.sql."""
        return await self.queries.sql(query)

    async def verify(self) -> VerifyView:
        """As Queries.verify."""
        return await self.queries.verify()

    async def prove(self, event: int) -> ProofView:
        """As Queries.prove."""
        return await self.queries.prove(event)

    async def checkpoint(self, since: str | None) -> ProofView:
        """As Queries.checkpoint."""
        return await self.queries.checkpoint(since)

    async def storage(self) -> StorageView:
        """As Queries.storage."""
        return await self.queries.storage()

    async def waiting(self) -> list[ApprovalView]:
        """The approvals that wait for a person."""
        return [ApprovalView(**entry.view, since=entry.since) for entry in self.approvals.waiting.values()]

    async def answer(self, answer: Answer, user: User) -> None:
        """Take a person's answer. Raises Denied if they may not give it, SettingsError if nothing waits."""
        if "approver" not in user.roles:
            raise Denied(f"{user.name} may not answer approvals", do="ask someone with the role approver")
        await self.approvals.answer(answer.approval, user, answer.yes, answer.meaning)

    async def hold(self, scope: ContentScope, reason: str, user: User) -> int:
        """As Verbs.hold."""
        return await Keeping(self.ledger, self._days, user).hold(scope, reason)

    async def end_hold(self, scope: ContentScope, user: User) -> int:
        """As Verbs.end_hold."""
        return await Keeping(self.ledger, self._days, user).end_hold(scope)

    async def shred(self, scope: ContentScope, user: User) -> GoneView:
        """As Verbs.shred."""
        return await Keeping(self.ledger, self._days, user).shred(scope)

    async def sweep(self, dry_run: bool, user: User) -> list[GoneView]:
        """As Verbs.sweep."""
        return await Keeping(self.ledger, self._days, user).sweep(dry_run)

    async def queues(self) -> list[QueueView]:
        """Every queue, with its limits and who is in it."""
        return [
            QueueView(
                queue=name,
                **queue.limits.model_dump(),
                running=len(queue.driven),
                queued=len(queue.waiting),
                oldest=min((each.since for each in queue.waiting), default=""),
            )
            for name, queue in sorted(self.conductor.queues.queues.items())
        ]

    async def list_schedules(self, user: User) -> list[ScheduleView]:
        """As Schedules.views."""
        return self.schedules.views(user)

    async def add_schedule(self, schedule: ScheduleSpec, user: User) -> ScheduleView:
        """As Schedules.add."""
        return await self.schedules.add(schedule, user)

    async def change_schedule(self, name: str, change: ScheduleChange, user: User) -> None:
        """As Schedules.change."""
        await self.schedules.change(name, change, user)

    async def backup(self, folder: str, user: User) -> BackupView:
        """As Verbs.backup."""
        return await Storing(self.ledger, user).backup(folder)

    async def ended(self, run: str) -> RunView:
        """Wait until a run has ended or is parked."""
        await self.conductor.ended(run)
        return await self.run(run)

    async def close(self) -> None:
        """End the epoch in order. Open runs resume at the next start."""
        if self._hearing is not None:
            self._hearing.cancel()
        await self.schedules.close()
        await self.conductor.close()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
        pending = self._note(Kind.CORE_STOPPED, None)
        await pending.durable()
        await asyncio.to_thread(self.ledger.close)

    def _live(self, view: RunView) -> RunView:
        if self.conductor.queues.waits(view.run):
            return view.model_copy(update={"status": "queued"})
        if view.status == "queued":  # as far as the ledger knows yet
            return view.model_copy(update={"status": "running"})
        waits = self.conductor.live.get(view.run)
        waiting = bool(waits and waits.waiting) or any(
            entry.view["run"] == view.run for entry in self.approvals.waiting.values()
        )
        return view.model_copy(update={"status": "waiting"}) if waiting and view.status == "running" else view

    def _keep_sources(self, workflows: Iterable[Workflow]) -> None:
        """Put the source of each workflow on record that is not there yet: an auditor sees what a run was."""
        kept = {event.fingerprint for event in self.ledger.events(limit=NO_LIMIT, kinds=[Kind.WORKFLOW_INSTALLED])}
        for each in workflows:
            if each.source_digest not in kept:
                facts = {"workflow": each.name, "workflow_version": each.version, "fingerprint": each.source_digest}
                self._note(Kind.WORKFLOW_INSTALLED, {"source": each.source}, **facts)

    def _loaded(self, models: Sequence[Mapping[str, Any]]) -> None:
        for model in models:
            how = "fell-back" if model["fell_back"] else ""
            self._note(Kind.MODEL_LOADED, dict(model), model_digest=model["sha256"], decision=how)

    def _mirrored(self, trouble: str) -> None:
        """Record that checkpoints no longer get to the mirror, or do again. Called by the ledger's writer."""
        self._note(Kind.MIRROR_CHANGED, {"reason": trouble}, decision="failed" if trouble else "restored")

    def _sender(self, settings: Settings) -> Sender | None:
        """What sends the trace of each run that ends, if the settings say where to."""
        sinks = settings.trace_sinks()
        if not sinks:
            return None
        sender = Sender(sinks, self.queries.trail, self._traced)
        self.conductor.on_end = sender.ended
        return sender

    def _traced(self, trouble: str, unsent: int) -> None:
        """Record that traces of runs are not sent, or are again. Called from the sender's thread."""
        said = {"reason": trouble, "unsent": unsent}
        self._note(Kind.TRACES_CHANGED, said, decision="failed" if trouble else "restored")

    def _note(self, kind: Kind, payload: Any, **facts: Any) -> Any:
        draft = Draft(kind=kind, tenant=self._tenant, actor="core", actor_version=CORE_VERSION, **facts)
        return self.ledger.append(draft, payload)

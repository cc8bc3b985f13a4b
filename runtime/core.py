"""The core: the trusted kernel of one runtime. Conductor, gate and ledger in one process, and nothing else in it.

This class knows no Ray; its actor wraps it, and tests run it in their own process.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.accepting import accept_models, accept_tools
from runtime.budgeting import Budgeting, budgets_of
from runtime.conductor.approvals import Approvals, Waiting
from runtime.conductor.conductor import Conductor
from runtime.conductor.controls import Controls
from runtime.conductor.granting import Granting
from runtime.conductor.pasts import Pasts
from runtime.conductor.resumptions import Resumptions
from runtime.conductor.schedules import Schedules
from runtime.conductor.scope import CORE_VERSION
from runtime.conductor.services import Agents, Memories, Services
from runtime.contract.workflow import Workflow
from runtime.costing import CostWatch
from runtime.gate.ages import Ages
from runtime.gate.build import build
from runtime.gate.host import Host
from runtime.gate.inventory import Inventory
from runtime.gate.provenance.directory import NOBODY, Directories
from runtime.gate.rates import FREE, Rates
from runtime.gateway.messages import (
    Answer,
    ApprovalView,
    BackupView,
    BudgetSpec,
    ContentScope,
    EventView,
    ForkView,
    GoneView,
    GrantSpec,
    GrantView,
    IssuedView,
    PolicyChangeView,
    QuestionView,
    QueueView,
    RunView,
    ScheduleChange,
    ScheduleSpec,
    ScheduleView,
    Submission,
    TokenOrder,
    TokenView,
)
from runtime.keeping import Keeping
from runtime.notices import nobody
from runtime.notifier import Notifier
from runtime.policing import Policing
from runtime.queries import LedgerQueries
from runtime.rights import check_reach, check_role
from runtime.settings import Settings
from runtime.site_key import site
from runtime.storing import Storing
from runtime.tokens.book import TokenBook
from runtime.traces.sender import Sender
from store.keys.memos import Memos
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.event import Draft
from store.records.identity import User
from store.records.kinds import Kind
from tools.record import ToolRecord

NO_LIMIT = 2**53


@dataclass(frozen=True)
class World:
    """What a core is started with: the tools and who calls them, the agents, the memory, the workflows.

    `directories` say what the names in users' words stand for. `models` are those that are loaded, each as
    `models.server.Loaded`; `memos` is the memory as keeping and backups see it. `again`: a core of this runtime was up
    before.
    """

    host: Host
    records: Mapping[str, ToolRecord]
    agents: Agents
    memory: Memories
    workflows: Mapping[str, Workflow]
    inventory: Inventory = field(default_factory=Inventory)
    directories: Directories = NOBODY
    models: Sequence[Mapping[str, Any]] = ()
    memos: Memos | None = None
    again: bool = False


class Core:
    """One epoch of one runtime, over one data folder."""

    def __init__(self, folder: Path, settings: Settings, world: World) -> None:
        self.ledger = Ledger.open(folder, mirror=settings.mirror_dir, site=site(settings), memos=world.memos)
        try:
            self._build(settings, world)
        except BaseException:
            self.ledger.close()
            raise

    def _build(self, settings: Settings, world: World) -> None:
        """Put conductor and gate over the ledger. Raises SettingsError if policy and tools do not fit."""
        self._settings = settings
        self._tenant = settings.tenant
        self._days = settings.retention_days
        self.people = settings.people()
        self._user = settings.people().holder  # of its own: what the core is told of the directory goes on record
        self.queries = LedgerQueries(self.ledger)
        recorder = Resumptions(self.ledger, Pasts(self.ledger))
        self.policing = Policing(
            self.ledger,
            settings.policy,
            world.records,
            world.inventory,
            again=world.again,
            expiry_s=settings.approval_expiry_s,
        )
        judge = self.policing.judge
        set_back = self.ledger.events(limit=NO_LIMIT, kinds=[Kind.CLOCK_SET_BACK])
        ages = Ages(self.ledger.epoch, self.ledger.reader.last_time(), set_back)
        gate = build(
            judge=judge,
            budgets=budgets_of(self.ledger, settings),
            host=world.host,
            recorder=recorder,
            records=world.records.values(),
            knows=self.people.knows,
            epoch=self.ledger.epoch,
            sole=self.people.sole,
            ages=ages,
            rates=settings.rates,
            directories=replace(world.directories, people=self.people),
        )
        gate.replay(self.ledger.reader.unsettled())
        gate.replay(self.ledger.events(limit=NO_LIMIT, kinds=[Kind.HALT_BEGUN, Kind.HALT_RELEASED]))
        self._notifier = Notifier(settings.notify, self._notified) if settings.notify else None
        notify = self._notifier.tell if self._notifier else nobody
        self.approvals = Approvals(
            recorder, gate, ages, settings.approval_expiry_s, lambda waiting: notify(waiting.notice)
        )
        self.policing.outdate = self.approvals.outdate
        self.granting = Granting(self.ledger, recorder, gate, world.records)
        services = Services(
            recorder=recorder,
            gate=gate,
            agents=world.agents,
            memory=world.memory,
            approver=self.approvals,
            settings=settings,
            records=world.records,
            inventory=world.inventory,
            users=self.people,
            notify=notify,
        )
        self.conductor = Conductor(self.ledger, services, world.workflows)
        self.controls = Controls(self.conductor)
        self.schedules = Schedules(self.conductor)
        self.tokens = TokenBook(self.ledger, self.people)
        self._costs = CostWatch(self.ledger, world.workflows, settings.cost_alert_factor)
        workflows = {each.name: [each.version, each.source_digest] for each in world.workflows.values()}
        self._note(Kind.CORE_STARTED, {"pid": os.getpid(), "workflows": workflows}, policy_digest=judge.digest)
        self.policing.start(self._user, self._tenant)
        accept_tools(self.ledger, world.records.values(), self._user)
        self._keep_sources(world.workflows.values())
        self._keep_directory()
        self._keep_rates(settings.rates)
        self.ledger.watch_mirror(self._mirrored)
        self._loaded(world.models)
        self._hearing: asyncio.Task[None] | None = None
        self._traces = self._sender(settings)
        self.conductor.on_end = self._run_ended

    def hear(self, loads: AsyncIterator[Sequence[Mapping[str, Any]]]) -> None:
        """Record each model that is loaded from now on, until the epoch ends."""

        async def record() -> None:
            async for models in loads:
                self._loaded(models)

        self._hearing = asyncio.create_task(record(), name="hear of models")

    async def submit(self, submission: Submission, user: User) -> str:
        """Start a run; its id once the submission is on disk. Raises Denied if the user may not."""
        check_role(user, "requester", "begin runs")
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

    async def fork(self, run: str, step: str, user: User, again: bool = False) -> ForkView:
        """As Controls.fork. Raises Denied if the user may not begin runs."""
        check_role(user, "requester", "begin runs")
        made, at = await self.controls.fork(run, step, user, again=again)
        return ForkView(run=made, effects=at.effects, again=at.again)

    async def settle(self, run: str, step: str, happened: bool, value: Json, user: User, reason: str) -> str:
        """As Controls.settle."""
        return await self.controls.settle(run, step, happened, value, user, reason)

    async def questions(self, user: User | None = None) -> list[QuestionView]:
        """What runs ask people; of a user's tenant, what is asked of them or in their own runs."""
        return [
            QuestionView(run=run, step=q.step, question=q.question, form=q.schema, to=q.to, since=q.since, due=q.due)
            for run, waits in self.conductor.live.items()
            for q in waits.questions.values()
            if not q.answer.done() and (user is None or waits.concerns(q, user))
        ]

    async def halt(self, user: User, reason: str) -> None:
        """As Controls.halt."""
        await self.controls.halt(user, reason)

    async def release(self, user: User, reason: str) -> list[str]:
        """As Controls.release. Raises Denied unless the user is of the site's own tenant."""
        check_reach(user, self._tenant, self._tenant)
        return await self.controls.release(user, reason)

    async def resume(self, run: str = "", user: User | None = None) -> list[str]:
        """As Controls.resume on behalf of a user, as Conductor.resume at a start."""
        return self.conductor.resume(run) if user is None else await self.controls.resume(run, user)

    async def runs(self, limit: int) -> list[RunView]:
        """As Queries.runs, with what waits for a person marked as waiting."""
        return [self.live(view) for view in await self.queries.runs(limit)]

    async def run(self, run: str) -> RunView:
        """As Queries.run."""
        return self.live(await self.queries.run(run))

    async def events(self, after: int, run: str, limit: int, payloads: bool, wait_s: float) -> list[EventView]:
        """As LedgerQueries.newer."""
        return await self.queries.newer(after, run, limit, payloads, wait_s)

    async def waiting(self, user: User | None = None, payloads: bool = True) -> list[ApprovalView]:
        """The approvals that wait for people; of a user's tenant, what they may answer or have asked for. Without
        `payloads` only their own are whole."""
        return [
            view if payloads or (user and entry.requester.name == user.name) else view.withhold()
            for entry in self.approvals.waiting.values()
            if user is None or entry.concerns(user)
            for view in [self._approval(entry, user)]
        ]

    def _approval(self, entry: Waiting, user: User | None) -> ApprovalView:
        said = {name: value for name, value in entry.view.items() if name != "binding"}
        return ApprovalView(
            **said,
            digest=entry.suspended.binding,
            yes=tuple(sorted(self.approvals.agreed(entry))),
            may_answer=user is None or self.approvals.may_answer(entry, user),
            since=entry.request.time,
            expires=entry.expires.isoformat(),
            left_s=round(entry.left_s, 1),
        )

    async def answer(self, answer: Answer, user: User) -> None:
        """Take a person's answer. Raises as Approvals.answer, and Denied if they are no approver."""
        check_role(user, "approver", "answer approvals")
        await self.approvals.answer(answer.approval, user, answer.yes, answer.meaning, answer.digest)

    async def propose_grant(self, grant: GrantSpec, user: User) -> GrantView:
        """As Granting.propose."""
        return self.granting.propose(grant, user)

    async def add_grant(self, grant: GrantSpec, digest: str, user: User) -> GrantView:
        """As Granting.add."""
        return await self.granting.add(grant, digest, user)

    async def revoke_grant(self, id: str, reason: str, user: User) -> None:
        """As Granting.revoke."""
        await self.granting.revoke(id, reason, user)

    async def propose_policy(self, user: User) -> PolicyChangeView:
        """As Policing.propose. Raises Denied unless the user is of the site's own tenant."""
        check_reach(user, self._tenant, self._tenant)
        return await self.policing.propose(user)

    async def approve_policy(self, digest: str, meaning: str, user: User) -> PolicyChangeView:
        """As Policing.approve. Only the only user there is may propose and approve. Raises Denied unless the user is
        of the site's own tenant."""
        check_reach(user, self._tenant, self._tenant)
        return await self.policing.approve(digest, meaning, user, self.people.sole)

    async def hold(self, scope: ContentScope, reason: str, user: User) -> int:
        """As Verbs.hold. Raises Denied unless the user's orders reach that tenant."""
        check_reach(user, scope.tenant, self._tenant)
        return await Keeping(self.ledger, self._days, user).hold(scope, reason)

    async def end_hold(self, scope: ContentScope, user: User) -> int:
        """As Verbs.end_hold. Raises Denied as `hold`."""
        check_reach(user, scope.tenant, self._tenant)
        return await Keeping(self.ledger, self._days, user).end_hold(scope)

    async def shred(self, scope: ContentScope, user: User) -> GoneView:
        """As Verbs.shred. Raises Denied as `hold`."""
        check_reach(user, scope.tenant, self._tenant)
        return await Keeping(self.ledger, self._days, user).shred(scope)

    async def sweep(self, dry_run: bool, user: User) -> list[GoneView]:
        """As Verbs.sweep. Raises Denied unless the user is of the site's own tenant."""
        check_reach(user, self._tenant, self._tenant)
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
        """As Schedules.add. Raises Denied if the user may not begin runs."""
        check_role(user, "requester", "begin runs")
        return await self.schedules.add(schedule, user)

    async def change_schedule(self, name: str, change: ScheduleChange, user: User) -> None:
        """As Schedules.change."""
        await self.schedules.change(name, change, user)

    async def bearer(self, token: str) -> User:
        """As TokenBook.bearer."""
        return self.tokens.bearer(token)

    async def issue_token(self, order: TokenOrder, user: User) -> IssuedView:
        """As TokenBook.issue."""
        return await self.tokens.issue(order.user, order.expires_s, order.roles, user)

    async def list_tokens(self, user: User) -> list[TokenView]:
        """As TokenBook.views."""
        return self.tokens.views(user)

    async def revoke_token(self, id: str, user: User) -> str:
        """As TokenBook.revoke."""
        return await self.tokens.revoke(id, user)

    def budgeting(self, user: User) -> Budgeting:
        """The budgets, for a user."""
        return Budgeting(self.ledger, self._settings, user, self.conductor.services.gate.budgets)

    async def set_budget(self, budget: BudgetSpec, user: User) -> None:
        """As Verbs.set_budget."""
        await self.budgeting(user).set_budget(budget)

    async def backup(self, folder: str, user: User) -> BackupView:
        """As Verbs.backup. Raises Denied unless the user is of the site's own tenant."""
        check_reach(user, self._tenant, self._tenant)
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
        await self._costs.close()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
        if self._notifier is not None:
            await asyncio.to_thread(self._notifier.close)
        pending = self._note(Kind.CORE_STOPPED, None)
        await pending.durable()
        await asyncio.to_thread(self.ledger.close)

    def live(self, view: RunView) -> RunView:
        """How a run stands by what only the core knows."""
        if self.conductor.queues.waits(view.run):
            return view.model_copy(update={"status": "queued"})
        if view.status == "queued":  # as far as the ledger knows yet
            return view.model_copy(update={"status": "running"})
        waits = self.conductor.live.get(view.run)
        if view.status == "parked":
            if waits is None or waits.scope.over:
                return self._parked(view)
            view = view.model_copy(update={"status": "running"})  # it is tried again, and has told nothing yet
        waiting = bool(waits and waits.waiting) or any(
            entry.view["run"] == view.run for entry in self.approvals.waiting.values()
        )
        return view.model_copy(update={"status": "waiting"}) if waiting and view.status == "running" else view

    def _parked(self, view: RunView) -> RunView:
        """A parked run's view, with when it is tried again, if it is, and why it was the last time for nothing."""
        retry = self.conductor.retries.of(view.run)
        if retry is None:
            return view
        seconds, error = retry
        why = "" if view.withheld else str(error)
        return view.model_copy(update={"again_in_s": round(seconds, 1), "outcome": why})

    def _keep_sources(self, workflows: Iterable[Workflow]) -> None:
        """Put the source of each workflow on record that is not there yet: an auditor sees what a run was."""
        kept = {event.fingerprint for event in self.ledger.events(limit=NO_LIMIT, kinds=[Kind.WORKFLOW_INSTALLED])}
        for each in workflows:
            if each.source_digest not in kept:
                facts = {"workflow": each.name, "workflow_version": each.version, "fingerprint": each.source_digest}
                self._note(Kind.WORKFLOW_INSTALLED, {"source": each.source}, **facts)

    def _keep_directory(self) -> None:
        """Put on record which directory is in force, by its digest, and from when on it is another."""
        known = [event.fingerprint for event in self.ledger.events(limit=NO_LIMIT, kinds=[Kind.DIRECTORY_READ])][-1:]

        def told(digest: str) -> None:
            if known != [digest]:
                known[:] = [digest]
                self._note(Kind.DIRECTORY_READ, {"source": self.people.source}, fingerprint=digest)

        self.people.on_read = told
        self.people.now()

    def _keep_rates(self, rates: Rates) -> None:
        """Put the site's rates on record if they have changed: they hold for what comes after."""
        before = self.ledger.events(kinds=[Kind.RATES_CHANGED], limit=NO_LIMIT)
        if rates.digest != (before[-1].fingerprint if before else FREE.digest):
            self._note(Kind.RATES_CHANGED, {"rates": rates.model_dump(mode="json")}, fingerprint=rates.digest)

    def _loaded(self, models: Sequence[Mapping[str, Any]]) -> None:
        accept_models(self.ledger, models, self._user)
        for model in models:
            how = "fell-back" if model["fell_back"] else ""
            self._note(Kind.MODEL_LOADED, dict(model), model_digest=model["sha256"], decision=how)

    def _mirrored(self, trouble: str) -> None:
        """Record that checkpoints no longer get to the mirror, or do again. Called from a thread of the mirror's."""
        self._note(Kind.MIRROR_CHANGED, {"reason": trouble}, decision="failed" if trouble else "restored")

    def _sender(self, settings: Settings) -> Sender | None:
        """What sends the trace of each run that ends, if the settings say where to."""
        sinks = settings.trace_sinks()
        if not sinks:
            return None
        return Sender(sinks, self.queries.trail, self._traced)

    def _run_ended(self, run: str) -> None:
        """A run has ended, and its last event is on disk."""
        self._costs.ended(run)
        if self._traces is not None:
            self._traces.ended(run)

    def _notified(self, trouble: str) -> None:
        """Record that people are no longer told of what waits, or are again. Called from the notifier's thread."""
        self._note(Kind.NOTIFYING_CHANGED, {"reason": trouble}, decision="failed" if trouble else "restored")

    def _traced(self, trouble: str, unsent: int) -> None:
        """Record that traces of runs are not sent, or are again. Called from the sender's thread."""
        said = {"reason": trouble, "unsent": unsent}
        self._note(Kind.TRACES_CHANGED, said, decision="failed" if trouble else "restored")

    def _note(self, kind: Kind, payload: Any, **facts: Any) -> Any:
        draft = Draft(kind=kind, tenant=self._tenant, actor="core", actor_version=CORE_VERSION, **facts)
        return self.ledger.append(draft, payload)

"""The conductor: takes submissions, drives runs to their end, and brings open runs back."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from runtime.conductor.branch import Branch, current, within
from runtime.conductor.clock import Clock
from runtime.conductor.journal import Journal
from runtime.conductor.live import LiveRun
from runtime.conductor.past import Fork, past
from runtime.conductor.queues import WINDOW_S, Queues, Ticket
from runtime.conductor.scope import CORE_VERSION, PARKS, Done, Scope, Services
from runtime.conductor.turns import Turns
from runtime.conductor.waits import Waits
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import Submission
from store.ledger.ledger import Ledger
from store.ledger.reader import RunRow
from store.records.canonical import Json, canonical
from store.records.errors import (
    BailiwickError,
    ChildFailed,
    DeadLetter,
    Denied,
    InDoubt,
    ModelFailed,
    SettingsError,
    Timeout,
    Unreachable,
    Waiting,
    describe,
)
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Ended, Kind
from store.records.labels import Classification, Integrity, Labels, trusted

DEEPEST = 8
ROUTING = "route"
"""The branch that the router's choice is on, so that a workflow's own steps are counted alike with and without it."""


async def unrouted(_run: Run) -> None:
    """Stands for the workflow until the router has chosen one; it is never called."""
    raise Unreachable("the run has no workflow yet")


@dataclass
class Conductor:
    """All runs of one core."""

    ledger: Ledger
    services: Services
    workflows: Mapping[str, Workflow]
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    live: dict[str, Waits] = field(default_factory=dict)
    closing: bool = False
    queues: Queues = field(init=False)

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        self.queues = Queues(self.services.settings.queues, self._drive)
        starts = self.ledger.reader.starts(now - timedelta(seconds=WINDOW_S))
        self.queues.started((queue, tenant, (now - time).total_seconds()) for queue, tenant, time in starts)

    async def submit(self, submission: Submission, user: User) -> str:
        """Put a submission on disk; its run is driven once it has a place in its queue.

        Raises SettingsError for an unknown workflow or queue.
        """
        self.check(submission)
        run = _run_id()
        await self.begin(run, submission, user)
        return run

    def check(self, submission: Submission) -> None:
        """Raise SettingsError if the submission names a workflow or a queue that there is not."""
        if submission.workflow:
            self._check(submission.workflow)
        if not self.queues.knows(submission.queue):
            known = ", ".join(sorted(self.queues.queues))
            raise SettingsError(f"no queue {submission.queue!r}", do=f"name one of: {known}")

    async def begin(
        self, run: str, submission: Submission, user: User, cause: int = 0, more: Mapping[str, Json] | None = None
    ) -> None:
        """Put a submission on disk under an id that is new, with the event that caused it and whatever tells more."""
        told = submission.model_dump(mode="json") | dict(more or {})
        event = await self._begin(run, user, trusted(user.tenant, "user"), told, cause=cause)
        self._enter(submission.queue, Ticket(True, event.seq, run, user.tenant, event.time))

    async def child(self, parent: Scope, path: str, workflow: str, task: str, input: Json) -> Done:
        """As Children.child. The child's id is the parent's and the step's, so that it is made once."""
        run = f"{parent.run}-{path}"
        if run.count("-") > DEEPEST:
            raise SettingsError(f"a run may have at most {DEEPEST} runs above it", run)
        if not self.ledger.run_events(run):
            self._check(workflow)
            submission = _submission(task=task, workflow=workflow, input=input or {}, seed=parent.seed)
            given = {"rights": _rights(parent), "attachments": list(parent.attachments)}
            await self._begin(run, parent.user, parent.labels, submission.model_dump(mode="json") | given)
        self._drive(run)
        try:
            await self.ended(run)
        except asyncio.CancelledError:
            if not parent.ending:
                await self.stop(run, parent.stopping or Kind.RUN_CANCELLING, parent.user, "its parent was stopped")
            raise
        return self._came_to(run)

    async def fork(self, source: str, at: Fork, user: User) -> str:
        """Begin a run that has done what another had done until then; the new run's id."""
        first = self.ledger.run_events(source)[0]
        submission = self._payload(first)
        run = _run_id()
        forked = {"run": source, "before": at.before, "effects": [list(each) for each in at.effects]}
        kept = {name: value for name, value in submission.items() if name != "user"}
        labels = first.labels or Labels(user.tenant)
        event = await self._begin(run, user, labels, {**kept, "forked": forked}, source=source)
        self._enter(first.decision, Ticket(True, event.seq, run, user.tenant, event.time))
        return run

    async def stop(self, run: str, kind: Kind, by: User, reason: str) -> None:
        """Put on disk that a run is to be cancelled or paused, and see to it; one that is over stays as it is.

        Returns when the run has stopped. What must not be broken off comes to its end before.
        """
        live = self.live.get(run)
        if live is None or live.scope.over:
            return
        live.scope.stopping = kind
        draft = replace(live.scope.draft(kind, actor="gateway"), principal=by.name)
        await self.ledger.append(draft, {"reason": reason}).durable()
        if not live.scope.over:
            self.tasks[run].cancel()
        await self.ended(run)

    def resume(self, only: str = "") -> list[str]:
        """Bring back every open run that is not paused, or the one whose id begins like `only`; their ids.

        Each is driven once it has a place in its queue; a run that another began, once that one has. A paused one that
        waits for its place when the runtime ends is paused still.
        Raises SettingsError if there is no such run, more than one, or it has ended.
        """
        if only:
            row = self.ledger.find_run(only)
            if row.ended:
                what = "the run has ended, there is nothing to resume"
                raise SettingsError(what, row.run, "see `bailiwick runs show`")
            rows = [row]
        else:
            rows = [row for row in self.ledger.open_runs() if row.status != "paused"]
        for row in sorted(rows, key=lambda row: not row.begun):
            self._bring_back(row)
        return [row.run for row in rows]

    async def ended(self, run: str) -> None:
        """Wait until a run is no longer driven, nor waits to be: it has ended, or is parked or paused."""
        await self.queues.placed(run)
        task = self.tasks.get(run)
        if task is not None:
            await asyncio.wait([task])

    async def begun(self, run: str) -> None:
        """Wait until a run that is to be driven is."""
        while run in self.tasks and run not in self.live:
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Stop driving. Runs stay open and resume at the next start."""
        self.closing = True
        self.queues.close()
        for live in self.live.values():
            live.scope.ending = True
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drive(self, run: str) -> None:
        """Drive a run, unless it is being driven or nothing is any more."""
        if run in self.tasks or self.closing:
            return
        task = asyncio.get_running_loop().create_task(self._run(run), name=f"run {run}")
        self.tasks[run] = task
        task.add_done_callback(lambda _: self._driven(run))

    def _driven(self, run: str) -> None:
        """Nobody drives a run any more."""
        self.tasks.pop(run, None)
        self.queues.leave(run)

    def _enter(self, queue: str, ticket: Ticket) -> None:
        """Have a run driven once it has a place; `resume` may see a submission before `submit` has returned.

        If nobody declares its queue any more, it is driven so far that this can be told.
        """
        if self.closing or ticket.run in self.tasks:
            return
        if self.queues.knows(queue):
            self.queues.ask(queue, ticket)
        else:
            self._drive(ticket.run)

    def _bring_back(self, row: RunRow) -> None:
        """Have an open run driven. One that another began takes no place, but does not go before that one."""
        if "-" not in row.run:
            self._enter(row.queue, Ticket(not row.begun, row.first_seq, row.run, row.tenant, row.started))
        elif not self.queues.waits(row.run.partition("-")[0]):
            self._drive(row.run)

    async def _run(self, run: str) -> None:
        events = self.ledger.run_events(run)
        if events[-1].kind == Kind.RUN_ENDED:
            return
        try:
            found = past(self.ledger, run)
        except BailiwickError as error:
            await self._unreadable(events[0], error)
            return
        first, submission = found[-len(events)]
        if not self.queues.knows(first.decision):
            what = f"the run's queue {first.decision!r} is not declared here"
            await self._unreadable(first, Unreachable(what, run, "declare it in the settings, then `bailiwick resume`"))
            return
        scope = self._scope(first, submission, Journal.read(found))
        current.set(Branch())
        begun = any(event.kind == Kind.RUN_STARTED for event in events)
        kind = Kind.RUN_RESUMED if begun else Kind.RUN_STARTED
        self.ledger.append(scope.draft(kind, labels=scope.labels, decision="" if begun else first.decision))
        waits = self.live[run] = Waits(scope)
        try:
            await self._see_through(scope, LiveRun(scope, waits), submission["workflow"])
        finally:
            del self.live[run]
            self._tell_parent(run)

    async def _see_through(self, scope: Scope, live: LiveRun, named: str) -> None:
        """Drive a run until it ends, is parked or is told to stop."""
        try:
            scope.workflow = await self._chosen(scope, live, named)
            limit = self.services.settings.run_timeout_s
            late = Timeout(f"the run did not end within {limit:g} s", scope.run, "raise run_timeout_s")
            status, outcome = await scope.clock.limit(self._work(scope, live), late)
            value = _plain(outcome, scope.workflow.name)
            scope.journal.check_passed()
        except PARKS as error:
            await self._park(scope, error)
        except asyncio.CancelledError:
            if scope.stopping is None or scope.ending:
                raise
            if scope.stopping == Kind.RUN_CANCELLING:
                await self._end(scope, "cancelled", {"text": "the run was cancelled"})
        except BailiwickError as error:
            status = "denied" if isinstance(error, Denied) else "failed"
            await self._end(scope, status, {"error": describe(error), "text": str(error)})
        except Exception as error:
            text = f"the workflow raised {type(error).__name__}"
            await self._end(scope, "failed", {"error": {"kind": type(error).__name__}, "text": text})
            if self.services.settings.debug:
                raise
        else:
            await self._end(scope, status, {"value": value, "text": _text(outcome)})

    async def _work(self, scope: Scope, live: LiveRun) -> tuple[Ended, Any]:
        """The workflow; where the model does not get there, its fallback."""
        try:
            result = await scope.workflow(live, *self._input(scope))
            status: Ended = "completed"
        except ModelFailed as error:
            if scope.denial is not None:
                raise scope.denial from None
            if scope.workflow.fallback is None:
                raise
            reason = str(error)
            current.set(Branch("rule."))
            live.to_rules()
            live.emit(f"the model did not get there: {reason}")
            result = await scope.workflow.fallback(live)
            status = "completed-by-fallback"
        if live.uncommitted:
            left = ", ".join(staged.tool for staged in live.uncommitted)
            raise SettingsError(f"the workflow ended with uncommitted effects: {left}", scope.workflow.name)
        return status, result

    async def _chosen(self, scope: Scope, live: LiveRun, named: str) -> Workflow:
        if named:
            return self._workflow(named, scope)
        choices = {name: flow.description for name, flow in sorted(self.workflows.items()) if not self._lacks(flow)}
        before = scope.journal.steps.get(f"{ROUTING}.1")
        if before is not None:
            choices = before.arguments  # what was chosen stays chosen, whatever has been installed since
        elif len(choices) == 1:
            return self._workflow(next(iter(choices)), scope)
        return self._workflow(await within(ROUTING, lambda: live.route(choices)), scope)

    def _lacks(self, workflow: Workflow) -> list[str]:
        """The tools that a workflow names and no server offers."""
        return sorted(set(workflow.tools) - set(self.services.records))

    def _workflow(self, name: str, scope: Scope) -> Workflow:
        """The workflow of this name, in the version that the run began with. Raises Unreachable."""
        version = scope.journal.versions.get(name)
        installed = self.workflows.get(name)
        if installed is None:
            raise Unreachable(f"the run's workflow {name!r} is not installed here", do="start the runtime with it")
        if version not in (None, installed.version):
            what = f"the run began with version {version} of {name!r}, and here is version {installed.version}"
            raise Unreachable(what, scope.run, f"start the runtime with version {version}, or cancel the run")
        return installed

    def _check(self, name: str) -> None:
        """Raise SettingsError unless a run of this workflow can begin."""
        if name not in self.workflows:
            known = ", ".join(sorted(self.workflows))
            raise SettingsError(f"no workflow {name!r}", do=f"name one of: {known}")
        if lacking := self._lacks(self.workflows[name]):
            what = f"the workflow {name} needs tools that nobody offers: {', '.join(lacking)}"
            raise SettingsError(what, do="name their tools file with --tools")

    async def _begin(
        self, run: str, user: User, labels: Labels, submission: dict[str, Any], *, cause: int = 0, source: str = ""
    ) -> Event:
        """Put a submission on disk; its event, whose `decision` is the queue and `fingerprint` the run that it is
        forked from, which it reads."""
        draft = Draft(
            kind=Kind.RUN_SUBMITTED,
            tenant=user.tenant,
            unit=user.unit,
            run=run,
            actor="gateway",
            actor_version=CORE_VERSION,
            principal=user.name,
            workflow=submission["workflow"],
            fingerprint=source,
            labels=labels,
            decision=submission["queue"],
            cause=cause,
        )
        return await self.ledger.append(draft, {**submission, "user": user.json()}).durable()

    def _came_to(self, run: str) -> Done:
        """What a child run has come to, for its parent's step."""
        ends = self.ledger.events(run=run, kinds=[Kind.RUN_ENDED])
        if not ends:
            raise Waiting("a run that this one began has not ended", run, "see `bailiwick runs show`")
        last, outcome = ends[0], self._payload(ends[0])
        if last.decision == "denied":
            raise Denied(outcome["text"], run)
        if not last.decision.startswith("completed"):
            raise ChildFailed(f"the run that this one began ended as {last.decision}", run, "see `bailiwick runs show`")
        return Done(outcome["value"], last.labels, {"cause": last.seq})

    def _tell_parent(self, run: str) -> None:
        """A parent that was parked because this run did not end goes on."""
        parent = run.rpartition("-")[0]
        if not parent or parent in self.tasks or self.closing:
            return
        if self.ledger.run_events(parent)[-1].kind == Kind.RUN_PARKED:
            self._bring_back(self.ledger.find_run(parent))

    def _input(self, scope: Scope) -> tuple[Any, ...]:
        model = scope.workflow.input
        return () if model is None else (model.model_validate(scope.input),)

    def _scope(self, first: Event, submission: Json, journal: Journal) -> Scope:
        user = User.parse(submission["user"])
        labels = first.labels or Labels(user.tenant)
        if submission["attachments"]:
            labels = labels.join(Labels(user.tenant, Classification.INTERNAL, Integrity.UNTRUSTED, ("attachment",)))
        return Scope(
            run=first.run,
            user=user,
            task=submission["task"],
            attachments=tuple(submission["attachments"]),
            seed=submission["seed"],
            input=submission["input"],
            workflow=self.workflows.get(submission["workflow"], UNROUTED),
            journal=journal,
            labels=labels,
            services=self.services,
            clock=Clock(self.services.settings.run_timeout_s),
            turns=Turns(journal.steps),
            children=self,
            rights=None if submission.get("rights") is None else frozenset(submission["rights"]),
            stopping=journal.stopping if journal.stopping == Kind.RUN_CANCELLING else None,
        )

    def _payload(self, event: Event) -> Json:
        return self.ledger.payload(event.payload) if event.payload else None

    async def _unreadable(self, first: Event, error: BailiwickError) -> None:
        """Park a run that cannot even be begun: its record cannot be read, say, so nobody knows what it has done."""
        draft = Draft(
            kind=Kind.RUN_PARKED,
            tenant=first.tenant,
            unit=first.unit,
            run=first.run,
            actor="core",
            actor_version=CORE_VERSION,
            principal=first.principal,
            decision=type(error).__name__.lower(),
        )
        await self.ledger.append(draft, {"error": describe(error), "text": str(error)}).durable()

    async def _park(self, scope: Scope, error: BailiwickError) -> None:
        """Leave the run open. On disk before anybody can resume it, for a resumed run reads its past from there."""
        step = scope.dead_letter if isinstance(error, DeadLetter) else ""
        draft = scope.draft(Kind.RUN_PARKED, step, decision=type(error).__name__.lower())
        scope.over = True
        await self.ledger.append(draft, {"error": describe(error), "text": str(error)}).durable()

    async def _end(self, scope: Scope, status: Ended, payload: dict[str, Any]) -> None:
        """The last event of a run. One of whose effects nobody knows whether it happened is parked instead."""
        if doubt := self.services.gate.effects.open_intents(scope.run):
            what = f"the run would have ended as {status}, but nobody knows whether {doubt[0].tool} happened"
            await self._park(scope, InDoubt(what, f"step {doubt[0].step}", "`bailiwick runs settle`, or resume it"))
            return
        scope.over = True
        by = "" if not status.startswith("completed") else "model" if scope.by_model and not scope.by_rule else "rule"
        draft = scope.draft(Kind.RUN_ENDED, decision=status, labels=scope.labels)
        await self.ledger.append(draft, {**payload, "resolved_by": by}).durable()
        self.services.gate.forget(scope.run)


UNROUTED = Workflow("", 0, unrouted, None, ())
"""Stands for the workflow in the events before the router has chosen one."""


def _run_id() -> str:
    """A new run's id: sortable by time, unguessable in its second half."""
    return f"r{int(time.time()):08x}{uuid.uuid4().hex[:10]}"


def _submission(**given: Any) -> Submission:
    """A submission that a workflow makes. Raises SettingsError if it is none."""
    try:
        return Submission(**given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        raise SettingsError(f"the {found['loc'][0]} of a run is not usable: {found['msg'].lower()}") from None


def _rights(parent: Scope) -> list[str] | None:
    """The tools that a child run may use: those that its parent may. None: any."""
    named = [frozenset(each) for each in (parent.workflow.tools or None, parent.rights) if each is not None]
    return sorted(frozenset.intersection(*named)) if named else None


def _plain(value: Any, workflow: str) -> Json:
    """A workflow's result as JSON. Raises SettingsError if it cannot be written down."""
    plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    try:
        canonical(plain)
    except (ValueError, RecursionError):
        raise SettingsError("the workflow's result is not JSON", workflow, "return a pydantic model or JSON") from None
    return plain


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(getattr(value, "text", "") or "")

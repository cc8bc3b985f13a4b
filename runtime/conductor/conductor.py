"""The conductor: takes submissions, drives runs to their end, and brings open runs back."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

from runtime.conductor.children import begun_with, came_to, child_id, paused_by_a_person
from runtime.conductor.clock import Clock
from runtime.conductor.journal import Journal
from runtime.conductor.life import UNROUTED, Life, lacks
from runtime.conductor.past import Fork, carried, own
from runtime.conductor.queues import WINDOW_S, Queues, Ticket
from runtime.conductor.scope import CORE_VERSION, Done, Scope, Services
from runtime.conductor.space import check_space
from runtime.conductor.turns import Turns
from runtime.conductor.waits import Waits
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import Submission
from store.ledger.ledger import Ledger
from store.ledger.reader import RunRow
from store.records.canonical import Json
from store.records.errors import (
    BailiwickError,
    IntegrityError,
    SettingsError,
    Unreachable,
    describe,
)
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind
from store.records.labels import Classification, Integrity, Labels, trusted

log = logging.getLogger("bailiwick.conductor")


@dataclass
class Conductor:
    """All runs of one core. `on_end` is told of each that has ended, and must return at once."""

    ledger: Ledger
    services: Services
    workflows: Mapping[str, Workflow]
    tasks: dict[str, asyncio.Task[Scope | None]] = field(default_factory=dict)
    live: dict[str, Waits] = field(default_factory=dict)
    closing: bool = False
    on_end: Callable[[str], None] = lambda _: None
    queues: Queues = field(init=False)
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        self.queues = Queues(self.services.settings.queues, self._drive)
        starts = self.ledger.reader.starts(now - timedelta(seconds=WINDOW_S))
        self.queues.started((queue, tenant, (now - time).total_seconds()) for queue, tenant, time in starts)

    async def submit(self, submission: Submission, user: User) -> str:
        """Put a submission on disk; its run is driven once it has a place in its queue.

        Raises SettingsError for an unknown workflow or queue, Unreachable if there is no space for a new run.
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
        """Put a submission on disk under an id that is new, with the event that caused it and whatever tells more.

        Raises Unreachable if there is no space for a new run.
        """
        self._check_space()
        told = submission.model_dump(mode="json") | dict(more or {})
        event = await self._begin(run, user, trusted(user.tenant, "user"), told, cause=cause)
        self._enter(submission.queue, Ticket(True, event.seq, run, user.tenant, event.time))

    async def child(self, parent: Scope, path: str, workflow: str, task: str, input: Json) -> Done:
        """As Children.child. The child's id is the parent's and the step's, so that it is made once."""
        run = child_id(parent, path)
        events = self.ledger.run_events(run)
        if not events:
            self._check(workflow)
            await self._begin(run, parent.user, parent.labels, begun_with(parent, workflow, task, input))
        if not paused_by_a_person(events):
            self._drive(run)
        try:
            await self.ended(run)
        except asyncio.CancelledError:
            if not parent.ending:
                await self.stop(run, parent.stopping or Kind.RUN_CANCELLING, parent.user, "its parent", by_parent=True)
            raise
        return came_to(self.ledger, parent, run)

    async def fork(self, source: str, at: Fork, user: User) -> str:
        """Begin a run that has done what another had done until then; the new run's id. Raises as `submit`."""
        self._check_space()
        first = self.ledger.run_events(source)[0]
        submission = self._payload(first)
        run = _run_id()
        forked = {"run": source, "before": at.before, "effects": [list(each) for each in at.effects]}
        kept = {name: value for name, value in submission.items() if name != "user"}
        labels = first.labels or Labels(user.tenant)
        event = await self._begin(run, user, labels, {**kept, "forked": forked}, source=source)
        self._enter(first.decision, Ticket(True, event.seq, run, user.tenant, event.time))
        return run

    async def stop(self, run: str, kind: Kind, by: User, reason: str, *, by_parent: bool = False) -> None:
        """Put on disk that a run is to be cancelled or paused, and see to it; one that is over stays as it is.

        Returns when the run has stopped. What must not be broken off comes to its end before.
        """
        live, task = self.live.get(run), self.tasks.get(run)
        if live is None or task is None or live.scope.over:
            return
        draft = live.scope.draft(kind, actor="gateway", decision="parent" if by_parent else "")
        pending = self.ledger.append(replace(draft, principal=by.name), {"reason": reason})
        live.scope.stopping = kind
        await pending.durable()
        if not live.scope.over:
            task.cancel()
        await asyncio.wait([task])

    def resume(self, only: str = "") -> list[str]:
        """Bring back every open run that is neither paused nor was parked by a restore of the ledger, or the one whose
        id begins like `only`; their ids.

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
            kept = self.ledger.held_back()
            rows = [row for row in self.ledger.open_runs() if row.status != "paused" and row.run not in kept]
        for row in sorted(rows, key=lambda row: not row.begun):
            self._bring_back(row)
        return [row.run for row in rows]

    async def ended(self, run: str) -> None:
        """Wait until a run is no longer driven, nor waits to be: it has ended, or is parked or paused."""
        await self.queues.placed(run)
        task = self.tasks.get(run)
        if task is not None:
            await asyncio.wait([task])

    def lock(self, run: str) -> asyncio.Lock:
        """Held by whoever begins a life of a run, or changes one that nobody drives."""
        found = self._locks.get(run)
        if found is None:
            found = self._locks[run] = asyncio.Lock()
        return found

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
        task.add_done_callback(lambda done: self._driven(run, done))

    def _driven(self, run: str, task: asyncio.Task[Scope | None]) -> None:
        """Nobody drives a run any more."""
        self.tasks.pop(run, None)
        self.queues.leave(run)
        if task.cancelled():
            return
        if error := task.exception():
            log.error("run %s is driven no more: %s", run, type(error).__name__, exc_info=error)
        elif scope := task.result():
            if scope.ended:
                self.on_end(run)
            self._after(scope)

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

    async def _run(self, run: str) -> Scope | None:
        """One life of a run; None if there was none to live."""
        async with self.lock(run):
            life = await self._beginning(run)
        if life is None:
            return None
        try:
            await life.see_through()
        finally:
            with suppress(BailiwickError):
                await self.ledger.flushed()  # the next life reads its past from the disk
            del self.live[run]
        return life.scope

    async def _beginning(self, run: str) -> Life | None:
        """A life of a run on record as begun; None if it has ended, or cannot be begun and is parked."""
        first = self.ledger.run_events(run)[0]
        try:
            events = own(self.ledger, run)
            if events[-1][0].kind == Kind.RUN_ENDED:
                return None
            if not self.queues.knows(first.decision):
                what = f"the run's queue {first.decision!r} is not declared here"
                raise Unreachable(what, run, "declare it in the settings, then `bailiwick resume`")
            submission = events[0][1]
            scope = self._scope(first, submission, Journal.read([*carried(self.ledger, events), *events]))
        except BailiwickError as error:
            await self._unreadable(first, error)
            return None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            await self._unreadable(first, IntegrityError(f"its record cannot be read: {type(error).__name__}", run))
            return None
        if self._parent_is_over(run):
            scope.stopping = Kind.RUN_CANCELLING
        begun = any(event.kind == Kind.RUN_STARTED for event, _ in events)
        kind = Kind.RUN_RESUMED if begun else Kind.RUN_STARTED
        self.ledger.append(scope.draft(kind, labels=scope.labels, decision="" if begun else first.decision))
        waits = self.live[run] = Waits(scope)
        return Life(self.workflows, waits, submission["workflow"])

    def _after(self, scope: Scope) -> None:
        """What the end of a life may let go on: a parent that was parked for this run, or this run itself, if one that
        it was parked for has ended meanwhile."""
        parent = scope.run.rpartition("-")[0]
        for run in (parent, *([scope.run] if any(map(self._over, scope.awaited)) else [])):
            if run and run not in self.tasks and not self.closing:
                row = self.ledger.find_run(run)
                if row.status == "parked" and run not in self.ledger.held_back():
                    self._bring_back(row)

    def _over(self, run: str) -> bool:
        return bool(self.ledger.events(run=run, limit=1, kinds=[Kind.RUN_ENDED]))

    def _parent_is_over(self, run: str) -> bool:
        """Whether the run that began this one has ended, or is being cancelled."""
        parent = run.rpartition("-")[0]
        stops = [Kind.RUN_ENDED, Kind.RUN_CANCELLING]
        return bool(parent and self.ledger.events(run=parent, limit=1, kinds=stops))

    def _check_space(self) -> None:
        """Raise Unreachable if a new run could fill the disk under the open ones."""
        check_space(self.ledger.folder, self.services.settings.free_space_mb)

    def _check(self, name: str) -> None:
        """Raise SettingsError unless a run of this workflow can begin."""
        if name not in self.workflows:
            known = ", ".join(sorted(self.workflows))
            raise SettingsError(f"no workflow {name!r}", do=f"name one of: {known}")
        if lacking := lacks(self.workflows[name], self.services.records):
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


def _run_id() -> str:
    """A new run's id: sortable by time, unguessable in its second half."""
    return f"r{int(time.time()):08x}{uuid.uuid4().hex[:10]}"

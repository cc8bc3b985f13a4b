"""The conductor: has runs driven to their end, each by one task at a time, and brings open runs back."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from runtime.conductor.children import begun_with, came_to, child_id, paused_by_a_person, runs_above
from runtime.conductor.deciding import child_refusal
from runtime.conductor.done import Done
from runtime.conductor.opening import Opening
from runtime.conductor.past import Fork
from runtime.conductor.queues import WINDOW_S, Queues, Ticket
from runtime.conductor.retries import Retries
from runtime.conductor.scope import Scope
from runtime.conductor.services import Services
from runtime.conductor.submissions import Submissions
from runtime.conductor.waits import Waits
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import Submission
from store.ledger.ledger import Ledger
from store.ledger.reader import RunRow
from store.records.canonical import Json
from store.records.errors import BailiwickError, SettingsError
from store.records.identity import User
from store.records.kinds import Kind
from store.records.labels import Labels, trusted

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
    retries: Retries = field(init=False)
    submissions: Submissions = field(init=False)
    _opening: Opening = field(init=False)
    _asked_for: set[str] = field(default_factory=set)
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        settings, records = self.services.settings, self.services.records
        self.queues = Queues(settings.queues, self._drive)
        starts = self.ledger.reader.starts(now - timedelta(seconds=WINDOW_S))
        self.queues.started((queue, tenant, (now - time).total_seconds()) for queue, tenant, time in starts)
        self.retries = Retries(self._unpark)
        pasts = self.services.recorder.pasts
        self.submissions = Submissions(self.ledger, settings, self.workflows, records, self.queues, pasts)
        self._opening = Opening(self.ledger, self.services, self.workflows, self.queues, self)

    async def submit(self, submission: Submission, user: User) -> str:
        """Put a submission on disk; its run is driven once it has a place in its queue.

        Raises SettingsError for an unknown workflow or queue, Unreachable if there is no space for a new run.
        """
        self.submissions.check(submission)
        run = _run_id()
        await self.begin(run, submission, user)
        return run

    async def begin(
        self, run: str, submission: Submission, user: User, cause: int = 0, more: Mapping[str, Json] | None = None
    ) -> None:
        """Put a submission on disk under an id that is new, with the event that caused it and whatever tells more.

        Raises Unreachable if there is no space for a new run.
        """
        self.submissions.check_space()
        told = submission.model_dump(mode="json") | dict(more or {})
        event = await self.submissions.put(run, user, trusted(user.tenant, "user"), told, cause=cause)
        self._enter(submission.queue, Ticket(True, event.seq, run, user.tenant, event.time))

    async def child(self, parent: Scope, path: str, workflow: str, task: str, input: Json) -> Done:
        """As Children.child. The child's id is the parent's and the step's, so that it is made once."""
        run = child_id(parent, path)
        events = self.ledger.run_events(run)
        if not events:
            self.submissions.check_workflow(workflow)
            if no := child_refusal(parent.workflow, parent.by_rule, self.workflows[workflow]):
                raise no
            await self.submissions.put(run, parent.user, parent.labels, begun_with(parent, workflow, task, input))
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
        self.submissions.check_space()
        first = self.ledger.run_events(source)[0]
        submission = self.ledger.payload(first.payload)
        run = _run_id()
        listed = {"effects": [list(each) for each in at.effects], "again": [list(each) for each in at.again]}
        forked = {"run": source, "step": at.step, "before": at.before, **listed}
        kept = {name: value for name, value in submission.items() if name != "user"}
        labels = first.labels or Labels(user.tenant)
        event = await self.submissions.put(run, user, labels, {**kept, "forked": forked}, source=source)
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
        pending = self.services.recorder.append(replace(draft, principal=by.name), {"reason": reason})
        live.scope.stopping = kind
        await pending.durable()
        if not live.scope.over:
            task.cancel()
        await asyncio.wait([task])

    def resume(self, only: str = "", which: Callable[[RunRow], bool] = lambda _: True) -> list[str]:
        """Bring back every open run that is neither paused nor was parked by a restore of the ledger, of those that
        `which` picks, or the one whose id begins like `only`; their ids.

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
            self._asked_for.add(row.run)
        else:
            kept = self.ledger.held_back()
            rows = [row for row in self.ledger.open_runs() if row.status != "paused" and row.run not in kept]
            rows = [row for row in rows if which(row)]
        in_turn = sorted(rows, key=lambda row: not row.begun)
        self.services.recorder.pasts.expect(row for row in in_turn if row.run not in self.tasks)
        for row in in_turn:
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
        self.retries.close()
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
        self.retries.begun(run)
        task = asyncio.get_running_loop().create_task(self._run(run), name=f"run {run}")
        self.tasks[run] = task
        task.add_done_callback(lambda done: self._driven(run, done))

    def _driven(self, run: str, task: asyncio.Task[Scope | None]) -> None:
        """Nobody drives a run any more."""
        self.tasks.pop(run, None)
        self._asked_for.discard(run)
        self.queues.leave(run)
        scope = None if task.cancelled() or task.exception() else task.result()
        if scope and not self.closing and scope.away:
            self.retries.put_off(run, scope.away, scope.steps)
        else:
            self.retries.forget(run)
        if not task.cancelled() and (error := task.exception()):
            log.error("run %s is driven no more: %s", run, type(error).__name__, exc_info=error)
        elif scope:
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

    def _unpark(self, run: str) -> None:
        """Bring a run back, if it is parked and left to itself."""
        if run in self.tasks or self.closing:
            return
        row = self.ledger.find_run(run)
        if row.status == "parked" and not self._held(run):
            self._bring_back(row)
        else:
            self.retries.forget(run)

    def _held(self, run: str) -> bool:
        """Whether somebody is changing a run that nobody drives, or it is kept from going on by itself: by a restore,
        or by a pause of a run above it."""
        paused = any(self.ledger.find_run(each).status == "paused" for each in runs_above(run))
        return paused or self.lock(run).locked() or run in self.ledger.held_back()

    async def _run(self, run: str) -> Scope | None:
        """One life of a run; None if there was none to live."""
        async with self.lock(run):
            asked_for = run in self._asked_for
            self._asked_for.discard(run)
            life = await self._opening.life(run, asked_for=asked_for)
            if life is None:
                return None
            self.live[run] = life.waits
        try:
            await life.see_through()
        finally:
            self.services.recorder.withdraw(run)
            with suppress(BailiwickError):
                await self.ledger.flushed()  # the next life reads its past from the disk
            del self.live[run]
        return life.scope

    def _after(self, scope: Scope) -> None:
        """What the end of a life may let go on: a parent that was parked for this run, or this run itself, if one that
        it was parked for has ended meanwhile."""
        if scope.ended:
            self.on_end(scope.run)
            if parent := scope.run.rpartition("-")[0]:
                self._unpark(parent)
        elif any(map(self._over, scope.awaited)):
            self._unpark(scope.run)

    def _over(self, run: str) -> bool:
        return bool(self.ledger.events(run=run, limit=1, kinds=[Kind.RUN_ENDED]))


def _run_id() -> str:
    """A new run's id: sortable by time, unguessable in its second half."""
    return f"r{int(time.time()):08x}{uuid.uuid4().hex[:10]}"

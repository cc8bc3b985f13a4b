"""The schedules: what is to be run again and again, on behalf of whoever set it up.

A schedule is an event, and so is whatever is done to it. A firing is one event too, the run's `run.submitted`, whose
cause is the schedule's: there are no two writes that a crash could come between. The run's id follows from the
schedule's name and the time, so that no time fires twice, whatever the clock does. Of the firings that a downtime made
late only the last is made up for, and none that a restore of the ledger may have forgotten. A run that still goes on
when the next is due does not hold it up: that is what queues are for. Where the clock was ahead and is set back, times
count from there on as they come, but for those that have fired; once it is where it was, what it skips is past.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from runtime.conductor.conductor import Conductor
from runtime.conductor.cron import Cron
from runtime.conductor.scope import CORE_VERSION
from runtime.gate.recorder import Pending
from runtime.gateway.messages import ScheduleChange, ScheduleSpec, ScheduleView, Submission
from runtime.settings import NAME
from store.ledger.reader import EVERYTHING
from store.records.canonical import Json, digest
from store.records.errors import BailiwickError, Denied, SettingsError, UserGone
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind
from store.records.problems import problems

LOOK_S = 60.0
"""The ticking looks at the clock at least so often, for somebody may set it."""

CHANGES: dict[ScheduleChange, Kind] = {
    "pause": Kind.SCHEDULE_PAUSED,
    "resume": Kind.SCHEDULE_RESUMED,
    "remove": Kind.SCHEDULE_REMOVED,
}
KINDS = (Kind.SCHEDULE_SET, *CHANGES.values())
log = logging.getLogger("bailiwick.schedules")


@dataclass
class Schedule:
    """One schedule. What fires is later than `after`; `run` is the last one, for the time `due`.

    `back` is where a clock went on that was set back to before `after`.
    """

    spec: ScheduleSpec
    user: User
    seq: int
    cron: Cron
    after: datetime
    back: datetime | None = None
    paused: bool = False
    removed: bool = False
    run: str = ""
    due: datetime | None = None

    def next(self, now: datetime) -> datetime | None:
        """The next time after `now` at which it fires; None if it does not."""
        return None if self.paused or self.removed else self.cron.next(now)

    def since(self, looked: datetime, now: datetime) -> datetime:
        """What is due now is later than this; `looked` is when that was last asked, as the clock has it now.

        A clock that only falls back for a while makes nothing due again that was settled before.
        """
        if now >= self.after:
            self.back = None
            return self.after
        self.back = min(self.back or looked, looked)
        return self.back


class Schedules:
    """All schedules of one core. `clock` tells the time on the wall, in UTC."""

    def __init__(self, conductor: Conductor, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._conductor = conductor
        self.clock = clock
        self._all: dict[tuple[str, str], Schedule] = {}
        self._changed = asyncio.Event()
        self._ticking: asyncio.Task[None] | None = None
        self._looked = time.monotonic()
        self._read()

    def views(self, by: User) -> list[ScheduleView]:
        """Those of the caller's tenant, by name."""
        now = self.clock()
        return [_view(each, now) for (tenant, _), each in sorted(self._all.items()) if tenant == by.tenant]

    async def add(self, spec: ScheduleSpec, by: User) -> ScheduleView:
        """Set up a schedule; returns once it is on disk.

        Raises SettingsError if there is one of this name, or it could not fire, or not be run.
        """
        if not re.fullmatch(NAME, spec.name):
            raise SettingsError(f"{spec.name!r} is no name for a schedule", do="use letters, digits, dot, dash")
        if (by.tenant, spec.name) in self._all:
            raise SettingsError(f"there is a schedule {spec.name!r}", do="remove it first, or take another name")
        cron = Cron(spec.cron, spec.zone)
        self._check(spec)
        now = self.clock()
        payload = {**spec.model_dump(mode="json"), "user": by.json(), "from": now.isoformat()}
        pending = self._told(Kind.SCHEDULE_SET, by, spec, payload)
        schedule = Schedule(spec, by, pending.event.seq, cron, now)
        self._all[by.tenant, spec.name] = schedule
        self._changed.set()
        await pending.durable()
        return _view(schedule, now)

    async def change(self, name: str, change: ScheduleChange, by: User) -> None:
        """Pause, resume or remove a schedule; returns once that is on disk. What a pause left out is not made up for.

        Raises SettingsError if there is none or that changes nothing, Denied if the caller may not do it.
        """
        schedule = self._all.get((by.tenant, name))
        if schedule is None:
            raise SettingsError(f"no schedule {name!r}", do="see `bailiwick schedules list`")
        if by.name != schedule.user.name and {"approver", "admin"}.isdisjoint(by.roles):
            raise Denied(f"{by.name} may not change this schedule", name, "ask who set it up, or an approver")
        if (change, schedule.paused) in (("pause", True), ("resume", False)):
            raise SettingsError(f"the schedule is {'paused already' if schedule.paused else 'not paused'}", name)
        payload = {"name": name, "from": self.clock().isoformat()}
        pending = self._told(CHANGES[change], by, schedule.spec, payload, schedule.seq)
        self._apply(schedule, CHANGES[change], payload)
        self._changed.set()
        await pending.durable()

    def start(self) -> None:
        """Fire what is due from now on."""
        self._ticking = asyncio.create_task(self._tick(), name="schedules")

    async def close(self) -> None:
        """Fire nothing more."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])

    async def fire(self) -> None:
        """Submit what is due, each schedule once."""
        begun = time.monotonic()
        for schedule in tuple(self._all.values()):
            now = self.clock()
            after = schedule.since(now - timedelta(seconds=time.monotonic() - self._looked), now)
            due = schedule.cron.last(after, now)
            if due is not None and not schedule.paused and not schedule.removed:
                try:
                    self._conductor.services.users.still(schedule.user)
                except UserGone as gone:
                    await self._pause(schedule, gone)
                else:
                    await self._submit(schedule, due, after, now)
        self._looked = begun

    async def _submit(self, schedule: Schedule, due: datetime, after: datetime, now: datetime) -> None:
        """Have the firing of a time on disk. The payload says `since` when it stands for all, and how late it is."""
        run = _run_of(schedule, due)
        if not self._conductor.ledger.run_events(run):
            since = schedule.cron.next(after) or due
            late_s = int((now - due).total_seconds())
            told = {"name": schedule.spec.name, "due": due.isoformat(), "since": since.isoformat(), "late_s": late_s}
            submission = _submission(schedule.spec)
            await self._conductor.begin(run, submission, schedule.user, schedule.seq, {"schedule": told})
        schedule.after = schedule.due = due
        schedule.back = None
        schedule.run = run

    async def _pause(self, schedule: Schedule, gone: UserGone) -> None:
        """Pause the schedule of a user who may begin no runs any more: each firing would only be parked."""
        payload = {"name": schedule.spec.name, "from": self.clock().isoformat(), "reason": str(gone)}
        pending = self._told(Kind.SCHEDULE_PAUSED, schedule.user, schedule.spec, payload, schedule.seq, actor="core")
        self._apply(schedule, Kind.SCHEDULE_PAUSED, payload)
        await pending.durable()

    async def _tick(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self.fire()
            except BailiwickError as error:  # a full disk, say: what is due stays due
                log.error("a schedule did not fire: %s", error)
            now = self.clock()
            times = [due for due in (each.next(now) for each in self._all.values()) if due is not None]
            wait_s = min([LOOK_S, *((due - now).total_seconds() for due in times)])
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def _check(self, spec: ScheduleSpec) -> None:
        """Raise SettingsError unless a run of this could begin now."""
        self._conductor.submissions.check(_submission(spec))
        workflow = self._conductor.workflows.get(spec.workflow)
        try:
            if workflow is not None and workflow.input is not None:
                workflow.input.model_validate(spec.input)
        except ValidationError as error:
            what = f"the input does not fit: {problems(error, most=5)}"
            raise SettingsError(what, spec.workflow, "correct --input") from None

    def _read(self) -> None:
        """Take in what the ledger has of schedules and of what they had run."""
        ledger = self._conductor.ledger
        found: dict[int, Schedule] = {}
        for event in ledger.events(kinds=KINDS, limit=EVERYTHING):
            try:
                self._take(event, ledger.payload(event.payload), found)
            except BailiwickError as error:
                log.warning("what event %d says of a schedule is not followed: %s", event.seq, error)
        for event in ledger.reader.newest_caused(Kind.RUN_SUBMITTED):
            if schedule := found.get(event.cause):
                schedule.run, schedule.due = event.run, _due_of(event.run)
                schedule.after = max(schedule.after, schedule.due)
        for event in ledger.events(kinds=(Kind.LEDGER_RESTORED,), limit=EVERYTHING):
            for schedule in found.values():  # what came before it may have fired after the backup
                schedule.after = max(schedule.after, datetime.fromisoformat(event.time))

    def _take(self, event: Event, payload: Json, found: dict[int, Schedule]) -> None:
        if event.kind == Kind.SCHEDULE_SET:
            spec = ScheduleSpec.model_validate({name: payload[name] for name in ScheduleSpec.model_fields})
            after = datetime.fromisoformat(payload["from"])
            schedule = Schedule(spec, User.parse(payload["user"]), event.seq, Cron(spec.cron, spec.zone), after)
            found[event.seq] = self._all[event.tenant, spec.name] = schedule
        elif schedule_changed := found.get(event.cause):
            self._apply(schedule_changed, Kind(event.kind), payload)

    def _apply(self, schedule: Schedule, kind: Kind, payload: dict[str, Any]) -> None:
        if kind == Kind.SCHEDULE_REMOVED:
            schedule.removed = True
            del self._all[schedule.user.tenant, schedule.spec.name]
        schedule.paused = kind == Kind.SCHEDULE_PAUSED
        if kind == Kind.SCHEDULE_RESUMED:
            schedule.after = max(schedule.after, datetime.fromisoformat(payload["from"]))

    def _told(
        self, kind: Kind, by: User, spec: ScheduleSpec, payload: Json, cause: int = 0, actor: str = "gateway"
    ) -> Pending:
        draft = Draft(
            kind=kind,
            tenant=by.tenant,
            unit=by.unit,
            actor=actor,
            actor_version=CORE_VERSION,
            principal=by.name,
            workflow=spec.workflow,
            decision=spec.name,
            cause=cause,
        )
        return self._conductor.ledger.append(draft, payload)


def _submission(spec: ScheduleSpec) -> Submission:
    return Submission.of(task=spec.task, workflow=spec.workflow, input=spec.input, queue=spec.queue)


def _run_of(schedule: Schedule, due: datetime) -> str:
    """The id of the run for a time: that time, as in every run's id, and what is the schedule's own."""
    own = digest([schedule.user.tenant, schedule.spec.name, due.isoformat()])
    return f"r{int(due.timestamp()):08x}{own[:10]}"


def _due_of(run: str) -> datetime:
    return datetime.fromtimestamp(int(run[1:9], 16), UTC)


def _view(schedule: Schedule, now: datetime) -> ScheduleView:
    """Times as the clocks in the schedule's zone show them."""
    shown = [
        each.astimezone(schedule.cron.zone).isoformat(timespec="minutes") if each else ""
        for each in (schedule.next(now), schedule.due)
    ]
    return ScheduleView(
        schedule=schedule.spec,
        by=schedule.user.name,
        paused=schedule.paused,
        next=shown[0],
        last=shown[1],
        run=schedule.run,
    )

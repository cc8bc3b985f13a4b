"""What people do to runs from outside: cancel, pause, signal, answer, retry, settle, halt. Each is an event first."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from runtime.conductor.conductor import Conductor
from runtime.conductor.past import Fork, fork_at
from runtime.conductor.scope import CORE_VERSION
from runtime.conductor.waits import Question
from runtime.gate.recorder import Pending
from store.ledger.reader import EVERYTHING, RunRow
from store.records.canonical import Json, canonical
from store.records.errors import Denied, SettingsError
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind
from store.records.labels import Classification, Integrity, Labels, trusted
from tools.schema import Checker

SHOW = "see `bailiwick runs show`"
SIGNALS = 1000
"""How many signals a run keeps that it has not taken."""
NAME_CHARS = 200


@dataclass(frozen=True)
class Controls:
    """The controls of one core's runs. Every method raises SettingsError if the caller's tenant has no such run, or it
    has ended, and Denied if the caller may not do this. Runs of other tenants are not there, for an auditor neither."""

    conductor: Conductor
    switch: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def cancel(self, run: str, by: User, reason: str) -> None:
        """End a run before its next step, and those that it began. A commit that has begun is finished before.

        Raises SettingsError if one that nobody drives has a commit half done, or an effect in doubt.
        """
        row = await self._open(run, by)
        family = [row.run, *self.conductor.ledger.begun_by(row.run)]
        for each in family:
            if each not in self.conductor.live:
                self._check_settled(each)
        for each in family:
            await self.conductor.stop(each, Kind.RUN_CANCELLING, by, reason)
            async with self.conductor.lock(each):
                row = self.conductor.ledger.find_run(each)
                if row.ended or each in self.conductor.live:
                    continue
                self._check_settled(each)
                with self.conductor.queues.withdrawn(each):
                    self._told(row, Kind.RUN_CANCELLING, by, {"reason": reason})
                    ended = {"text": "the run was cancelled", "resolved_by": ""}
                    await self._told(row, Kind.RUN_ENDED, by, ended, "cancelled").durable()
                self.conductor.services.gate.forget(each)
                self.conductor.on_end(each)

    async def pause(self, run: str, by: User, reason: str) -> None:
        """Stop a run before its next step, and those that it began, until it is resumed by its name."""
        row = await self._open(run, by)
        if row.status == "paused":
            raise SettingsError("the run is paused already", row.run, "`bailiwick runs resume` lets it go on")
        await self.conductor.stop(row.run, Kind.RUN_PAUSED, by, reason)
        async with self.conductor.lock(row.run):
            row = self.conductor.ledger.find_run(row.run)
            if not row.ended and row.status != "paused" and row.run not in self.conductor.live:
                with self.conductor.queues.withdrawn(row.run):
                    await self._told(row, Kind.RUN_PAUSED, by, {"reason": reason}).durable()
        for child in self.conductor.ledger.begun_by(row.run):  # after it, or their end would bring it back
            await self.conductor.stop(child, Kind.RUN_PAUSED, by, reason, by_parent=True)

    async def resume(self, run: str, by: User) -> list[str]:
        """Let a run go on, or (empty) every open one that is not paused and they may control; their ids."""
        if not run:
            return self.conductor.resume(which=lambda row: by.tenant == row.tenant and _may_control(by, row))
        return self.conductor.resume((await self._open(run, by)).run)

    async def signal(self, run: str, name: str, value: Json, by: User) -> None:
        """Send a run a signal; returns once it is on disk. It is kept until the run waits for it."""
        row = await self._open(run, by)
        _check_name(name)
        waits = self.conductor.live.get(row.run)
        if waits is not None and waits.kept >= SIGNALS:
            raise SettingsError(f"the run has {SIGNALS} signals that it has not taken", row.run, "wait until it has")
        labels = _said(by, row, "signal")
        pending = self._told(row, Kind.SIGNAL_RECEIVED, by, {"signal": name, "value": value}, labels=labels)
        await pending.durable()
        waits = self.conductor.live.get(row.run)
        if waits is not None:
            waits.deliver(pending.event, {"signal": name, "value": value})

    async def answer(self, run: str, step: str, value: Json, by: User) -> None:
        """Answer a run's question; returns once that is on disk. An empty `step` stands for the only question.

        Raises SettingsError if there is none, or the answer does not fit its schema.
        """
        row = await self._open(run, by, asked=True)
        question = self._question(row.run, step)
        if not _may_answer(question, by, row):
            raise Denied(f"{by.name} was not asked", row.run, f"the question is for {question.to or row.principal}")
        if problem := Checker(question.schema).problem(value):
            raise SettingsError(f"the answer does not fit: {problem}", row.run, SHOW)
        labels = trusted(by.tenant, f"input:{by.name}")
        pending = self._told(
            row, Kind.INPUT_ANSWERED, by, {"value": value}, step=question.step, cause=question.request, labels=labels
        )
        question.answer.set_result((pending.event, {"value": value}))
        await pending.durable()

    async def retry(self, run: str, by: User) -> str:
        """Have a dead letter tried again, as often as at first; the run's id. Raises SettingsError if it is none."""
        row = await self._open(run, by)
        async with self.conductor.lock(row.run):
            parked = self._parked(row.run)
            if parked is None or parked.decision != "deadletter" or row.run in self.conductor.live:
                raise SettingsError("the run is not parked for a step that failed too often", row.run, SHOW)
            await self._told(row, Kind.RUN_RETRIED, by, None, step=parked.step).durable()
        self.conductor.resume(row.run)
        return row.run

    async def settle(self, run: str, step: str, happened: bool, value: Json, by: User, reason: str) -> str:
        """Say what became of an effect that is in doubt, and let the run go on; the run's id.

        With `happened`, `value` stands for its result; without, it will be made, under a new intent. An empty `step`
        stands for the only one in doubt.
        """
        row = await self._open(run, by)
        if "approver" not in by.roles:
            raise Denied(f"{by.name} may not settle effects", do="ask someone with the role approver")
        _check_value(value)
        async with self.conductor.lock(row.run):
            if row.run in self.conductor.live:
                what = "the run is being driven, so its effects are not settled yet"
                raise SettingsError(what, row.run, "wait for it")
            settled = self._settled(row, self._in_doubt(row.run, step), happened, value, by, reason)
            self.conductor.services.gate.effects.replay([pending.event for pending in settled])
            await settled[-1].durable()
        self.conductor.resume(row.run)
        return row.run

    def _settled(self, row: RunRow, intent: Event, happened: bool, value: Json, by: User, reason: str) -> list[Pending]:
        same = {"tool": intent.tool, "tool_digest": intent.tool_digest, "fingerprint": intent.fingerprint}
        decision = "happened" if happened else "not"
        payload: Json = {"reason": reason, "by": by.name}
        at = {"step": intent.step, "cause": intent.seq}
        said = self._told(row, Kind.EFFECT_SETTLED, by, payload, decision, **at, **same)
        if not happened:
            return [said]
        labels = (intent.labels or Labels(row.tenant)).join(_said(by, row, "settled"))
        payload = {"key": f"{row.run}/{intent.step}", "value": value, "error": False}
        at = {"step": intent.step, "cause": said.event.seq}
        return [said, self._told(row, Kind.EFFECT_OUTCOME, by, payload, "done", labels=labels, **at, **same)]

    async def fork(self, run: str, step: str, by: User, *, again: bool = False) -> tuple[str, Fork]:
        """Begin a run of its own with all that a run had recorded before `step`: its id, and where it was forked.

        What was done until then is not repeated; what it commits needs approvals of its own. Raises Denied for another
        user's run, SettingsError as fork_at and, without `again`, if effects begun since may be done a second time.
        """
        row = self.conductor.ledger.find_run(run, by.tenant)
        if by.name != row.principal:
            raise Denied(f"{by.name} may not fork another user's run", row.run)
        at = fork_at(self.conductor.ledger, row.run, step)
        if at.again and not again:
            named = ", ".join(f"{tool} (step {path})" for path, tool in at.again)
            what = f"the run has begun effects at this step or after it, which a fork may do again: {named}"
            raise SettingsError(what, f"run {row.run}, step {step}", "fork from a later step, or permit it: --again")
        return await self.conductor.fork(row.run, at, by), at

    async def halt(self, by: User, reason: str) -> None:
        """Let no effect begin any more; returns once that is on disk. Anybody who may use the runtime may do this."""
        halt = self.conductor.services.gate.halt
        async with self.switch:
            if halt.event is not None:
                raise SettingsError(
                    f"{halt.event.principal} has halted all effects already", f"{halt.event.time[:19]}Z"
                )
            pending = self._site(Kind.HALT_BEGUN, by, reason)
            halt.replay([pending.event])
            await pending.durable()

    async def release(self, by: User, reason: str) -> list[str]:
        """Let effects begin again, and the runs go on that were parked for the halt, of whatever tenant; the ids of
        those of the caller's."""
        halt = self.conductor.services.gate.halt
        if {"approver", "admin"}.isdisjoint(by.roles):
            raise Denied(f"{by.name} may not release a halt", do="ask an approver")
        async with self.switch:
            if halt.event is None:
                raise SettingsError("effects are not halted")
            pending = self._site(Kind.HALT_RELEASED, by, reason)
            await pending.durable()
            halt.replay([pending.event])
        held = []
        for row in self.conductor.ledger.open_runs():
            parked = self._parked(row.run) if row.status == "parked" else None
            if parked is not None and parked.decision == "halted":
                self.conductor.resume(row.run)
                held += [row.run] * (row.tenant == by.tenant)
        return held

    def _site(self, kind: Kind, by: User, reason: str) -> Pending:
        draft = Draft(
            kind=kind, tenant=by.tenant, unit=by.unit, actor="gateway", actor_version=CORE_VERSION, principal=by.name
        )
        return self.conductor.services.recorder.append(draft, {"reason": reason})

    async def _open(self, run: str, by: User, *, asked: bool = False) -> RunRow:
        """The open run whose id begins so, if `by` may control it; one who is asked a question need not."""
        row = self.conductor.ledger.find_run(run, by.tenant)
        if not (asked or _may_control(by, row)):
            raise Denied(f"{by.name} may not control this run", row.run, "ask who submitted it, or an approver")
        await self.conductor.begun(row.run)
        live = self.conductor.live.get(row.run)
        if live is not None and live.scope.over:
            await self.conductor.ended(row.run)
        row = self.conductor.ledger.find_run(row.run)
        if row.ended:
            raise SettingsError("the run has ended", row.run, SHOW)
        return row

    def _parked(self, run: str) -> Event | None:
        """The event that a run is parked with, None if it is not."""
        events = self.conductor.ledger.run_events(run)
        moves = [event for event in events if event.kind in (Kind.RUN_STARTED, Kind.RUN_RESUMED, Kind.RUN_PARKED)]
        return moves[-1] if moves and moves[-1].kind == Kind.RUN_PARKED else None

    def _told(self, row: RunRow, kind: Kind, by: User, payload: Json, decision: str = "", **facts: Any) -> Pending:
        draft = Draft(
            kind=kind,
            tenant=row.tenant,
            unit=by.unit,
            run=row.run,
            actor="gateway",
            actor_version=CORE_VERSION,
            principal=by.name,
            workflow=row.workflow,
            workflow_version=row.workflow_version,
            decision=decision,
            **facts,
        )
        return self.conductor.services.recorder.append(draft, payload)

    def _question(self, run: str, step: str) -> Question:
        waits = self.conductor.live.get(run)
        open_ = {step: each for step, each in waits.questions.items() if not each.answer.done()} if waits else {}
        found = [each for path, each in open_.items() if step in ("", path)]
        if len(found) != 1:
            what = "several questions wait" if found else "no such question waits"
            raise SettingsError(f"{what} in this run", run, f"name one with --step: {', '.join(sorted(open_)) or SHOW}")
        return found[0]

    def _in_doubt(self, run: str, step: str) -> Event:
        open_ = self.conductor.services.gate.effects.open_intents(run)
        found = [each for each in open_ if step in ("", each.step)]
        if len(found) != 1:
            what = "several effects are in doubt" if found else "no such effect is in doubt"
            steps = ", ".join(each.step for each in open_)
            raise SettingsError(f"{what} in this run", run, f"name one of: {steps}" if steps else SHOW)
        return found[0]

    def _check_settled(self, run: str) -> None:
        """Raise SettingsError if a commit of the run has begun and is not done: ending it would leave it half done."""
        if self.conductor.services.gate.effects.open_intents(run):
            what = "nobody knows whether one of the run's effects happened"
            raise SettingsError(what, run, "say so first: `bailiwick runs settle`")
        kinds = [Kind.EFFECT_INTENT, Kind.STEP_COMPLETED, Kind.STEP_FAILED]
        events = self.conductor.ledger.events(run=run, limit=EVERYTHING, kinds=kinds)
        done = {event.step for event in events if event.kind != Kind.EFFECT_INTENT}
        if any(event.step.rpartition(".")[0] not in done for event in events if event.kind == Kind.EFFECT_INTENT):
            raise SettingsError("a commit of the run is half done", run, "let it go on: `bailiwick runs resume`")


def _may_control(by: User, row: RunRow) -> bool:
    """Its own user, or who answers for the site."""
    return by.name == row.principal or not {"approver", "admin"}.isdisjoint(by.roles)


def _may_answer(question: Question, by: User, row: RunRow) -> bool:
    return by.name == (question.to or row.principal) or question.to in by.roles


def _said(by: User, row: RunRow, how: str) -> Labels:
    """The labels of what a person sent: the run's own user is trusted, as in the task; another is a source like any."""
    source = f"{how}:{by.name}"
    if by.name == row.principal:
        return trusted(row.tenant, source)
    return Labels(row.tenant, Classification.INTERNAL, Integrity.UNTRUSTED, (source,))


def _check_name(name: str) -> None:
    if not (0 < len(name) <= NAME_CHARS and name.isprintable()):
        raise SettingsError(f"a signal has a name of at most {NAME_CHARS} printable characters")


def _check_value(value: Json) -> None:
    try:
        canonical(value)
    except (ValueError, TypeError, RecursionError):
        raise SettingsError("the value is not JSON that can be kept") from None

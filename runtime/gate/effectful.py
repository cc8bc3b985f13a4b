"""The innermost wrapper: how an effect is carried out so that it happens once, or somebody knows that nobody knows.

Intent on disk, then the call, then the outcome on disk, then the result. When the middle is lost, the tool is asked
what became of it; the call is repeated only under the same idempotency key, and never in the blind.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from runtime.crashpoints import CrashPoint, reach
from runtime.gate.call import Gate, ToolCall, ToolResult, is_reference
from runtime.gate.halt import Halt
from runtime.gate.host import Host
from runtime.gate.labelled import result_labels
from runtime.gate.recorder import Recorder, draft, fingerprint
from store.records.canonical import Json
from store.records.errors import Denied, InDoubt, ReplayMismatch, Timeout, ToolFailed, Unreachable
from store.records.event import Event
from store.records.kinds import Kind
from store.records.labels import Labels
from tools.host import BadArguments
from tools.record import ToolRecord
from tools.toolset import Outcome

LOST = (ToolFailed, Unreachable, Timeout)
"""After one of these nobody knows whether the call took effect."""

PATIENCE_S = (0.1, 0.4, 1.0, 2.0, 4.0, 8.0)
"""Pauses between attempts to learn more, in seconds: time for a tool host to start anew, and for an effect that is
still under way to end."""

AGAIN = "called again under the same key"


class Effectful(Gate):
    """Reads go straight to the host; everything else leaves an intent before and an outcome after.

    `records` are the tools by name, to find those that reconcile. `epoch` is the core's own.
    """

    def __init__(
        self,
        host: Host,
        recorder: Recorder,
        records: Mapping[str, ToolRecord],
        epoch: int,
        patience_s: tuple[float, ...] = PATIENCE_S,
        halt: Halt | None = None,
    ) -> None:
        self._host = host
        self._recorder = recorder
        self._records = records
        self._epoch = epoch
        self._patience_s = patience_s
        self._halt = halt or Halt()
        self._open: dict[tuple[str, str], Event] = {}
        self._done: set[tuple[str, str]] = set()
        self._busy: set[tuple[str, str]] = set()
        self._doubted: set[tuple[str, str]] = set()

    def replay(self, events: Iterable[Event]) -> None:
        """Learn from the ledger which effects have an intent, which of those an outcome, and which did not happen."""
        for event in events:
            if event.kind == Kind.EFFECT_INTENT:
                self._open[event.run, event.step] = event
            elif event.kind == Kind.EFFECT_IN_DOUBT:
                self._doubted.add((event.run, event.step))
            elif event.kind == Kind.EFFECT_OUTCOME:
                self._open.pop((event.run, event.step), None)
                self._done.add((event.run, event.step))
            elif event.kind == Kind.EFFECT_SETTLED and event.decision == "not":
                self._open.pop((event.run, event.step), None)
                self._doubted.discard((event.run, event.step))

    def open_intents(self, run: str) -> list[Event]:
        """The intents of a run that have no outcome, in order: under way, or in doubt."""
        return sorted((each for place, each in self._open.items() if place[0] == run), key=lambda each: each.seq)

    def forget(self, run: str) -> None:
        """Drop what is known of a run that has ended, but for effects without an outcome."""
        self._done = {place for place in self._done if place[0] != run}
        self._doubted = {place for place in self._doubted if place[0] != run or place in self._open}

    def intent_of(self, run: str, step: str) -> Event | None:
        """The intent at this place that has no outcome yet."""
        return self._open.get((run, step))

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. An effect whose intent is already on record is settled instead of begun again.

        Raises Halted while effects are halted; what is under way then comes to its outcome or waits for the release.
        Raises ReplayMismatch if the effect at this step has an outcome, for then its result is in the ledger.
        """
        _check_filled(call)
        if call.record.local_read:
            return _result(call, await self._send(call, call.record, call.arguments, ""))
        place = call.run, call.step
        if place in self._done:
            raise ReplayMismatch("this effect has an outcome already", f"run {call.run}, step {call.step}")
        self._halt.check(call)
        if place in self._busy:
            raise ReplayMismatch("this effect is being carried out already", f"run {call.run}, step {call.step}")
        self._busy.add(place)
        try:
            if place in self._open:
                return await self.settle(call, self._open[place])
            _check_key(call)
            reach(CrashPoint.BEFORE_INTENT)
            intent = await self._intend(call)
            reach(CrashPoint.AFTER_INTENT)
            return await self._carry_out(call, intent, [])
        finally:
            self._busy.discard(place)

    async def settle(self, call: ToolCall, intent: Event | None = None) -> ToolResult:
        """Bring an effect with an intent and no outcome to its outcome; without `intent`, by the one on record.

        The tool is asked first; the call is made again, under the same key, only if the tool says that it did not
        happen, or has nobody to ask and takes a key. Raises InDoubt otherwise, and ReplayMismatch if there is no
        intent or it is not this call's.
        """
        intent = intent or self.intent_of(call.run, call.step)
        if intent is None:
            raise ReplayMismatch("there is no open intent to settle", f"run {call.run}, step {call.step}")
        if intent.fingerprint != fingerprint(call) or intent.tool != call.record.name:
            raise ReplayMismatch("the intent on record is for another call", f"run {call.run}, step {call.step}")
        if intent.tool_digest != call.record.digest:
            raise await self._in_doubt(call, intent, "the tool has changed since the intent")
        learnt = [f"the outcome of the call was not on record in epoch {self._epoch}"]
        found = await self._find(call, intent, learnt)
        if found is None:
            return await self._carry_out(call, intent, learnt)
        return await self._close(call, intent, found, learnt)

    async def _carry_out(self, call: ToolCall, intent: Event, learnt: list[str]) -> ToolResult:
        """Call until there is an outcome; between two calls the tool says that the first did not happen.

        `learnt` says what became of earlier calls under this intent, in words; it is added to, and recorded with the
        outcome, for a call that was made again must be told from one that was not.
        """
        for pause in (*self._patience_s, None):
            if learnt:
                learnt.append(AGAIN)
            try:
                outcome: Outcome | None = await self._send(call, call.record, call.arguments, call.key)
            except BadArguments as error:
                outcome = Outcome(str(error), error=True)  # it never left, and never will
            except LOST as error:
                learnt.append(f"the call brought no answer ({type(error).__name__})")
                outcome = await self._find(call, intent, learnt)
            if outcome is not None:
                reach(CrashPoint.AFTER_CALL)
                return await self._close(call, intent, outcome, learnt)
            if pause is not None:
                await asyncio.sleep(pause)
                self._halt.check(call)
        if call.record.reconcile:
            # The last word was the tool's own: it did not happen. That is an outcome, and no doubt.
            lost = Outcome("the call never got through, and had no effect", error=True)
            return await self._close(call, intent, lost, learnt)
        raise await self._in_doubt(call, intent, "the tool was lost again and again")

    async def _find(self, call: ToolCall, intent: Event, learnt: list[str]) -> Outcome | None:
        """What became of the call: its outcome, or None if it may be made again. Raises InDoubt if nobody knows.

        Asking is part of the effect that policy let through: the record that names whom to ask is what was approved.
        """
        record = self._records.get(call.record.reconcile)
        if record is None:
            if call.record.key_argument:
                learnt.append("no tool can be asked what became of it")
                return None
            raise await self._in_doubt(call, intent, "the tool cannot be asked and takes no key")
        question: dict[str, Json] = {_key_name(call.record, record): call.key}
        for pause in (*self._patience_s, None):
            try:
                answer = await self._send(call, record, question, "")
            except LOST:
                if pause is not None:
                    await asyncio.sleep(pause)
                continue
            happened = _happened(answer)
            if happened in ("yes", "no"):
                learnt.append(f"{record.name} was asked: it {'happened' if happened == 'yes' else 'did not happen'}")
                return Outcome(answer.value.get("result")) if happened == "yes" else None
            if happened == "nonsense":
                raise await self._in_doubt(call, intent, "the tool's answer about it makes no sense")
            if pause is not None:
                await asyncio.sleep(pause)
        raise await self._in_doubt(call, intent, "the tool could not say, or not be reached to ask")

    async def _send(self, call: ToolCall, record: ToolRecord, arguments: dict[str, Json], key: str) -> Outcome:
        return await self._host.call(record.name, arguments, key, call.record.timeout_s, self._epoch)

    async def _intend(self, call: ToolCall) -> Event:
        payload = {
            "key": call.key,
            "arguments": call.arguments,
            "approvers": sorted({each.approver for each in call.approvals}) if call.suspended_by else [],
            "approved_by_policies": list(call.suspended_by),
        }
        intent = await self._append(call, Kind.EFFECT_INTENT, payload)
        self._open[call.run, call.step] = intent
        return intent

    async def _close(self, call: ToolCall, intent: Event, outcome: Outcome, learnt: list[str]) -> ToolResult:
        """Record the outcome, and how it was learnt if not by the first call; only then is there a result."""
        told: dict[str, Json] = {"learnt": list(learnt)} if learnt else {}
        await self._append(
            call,
            Kind.EFFECT_OUTCOME,
            {"key": call.key, "value": outcome.value, "error": outcome.error, **told},
            cause=intent.seq,
            decision="error" if outcome.error else "done",
            labels=result_labels(call, outcome.error),
        )
        self._open.pop((call.run, call.step), None)
        self._done.add((call.run, call.step))
        reach(CrashPoint.AFTER_OUTCOME)
        return _result(call, outcome)

    async def _in_doubt(self, call: ToolCall, intent: Event, why: str) -> InDoubt:
        """The error to raise, once it is on record. The intent stays open: a later run may find out. That nobody knows
        is said once of an intent."""
        if (call.run, call.step) not in self._doubted:
            await self._append(call, Kind.EFFECT_IN_DOUBT, {"key": call.key, "why": why}, cause=intent.seq)
            self._doubted.add((call.run, call.step))
        return InDoubt(
            f"nobody knows whether {call.record.name} happened: {why}",
            f"run {call.run}, step {call.step}",
            "look at what it acts on, then resume the run",
        )

    async def _append(self, call: ToolCall, kind: Kind, payload: Json, **fields: Any) -> Event:
        """Append an event of this effect and wait until it is on disk."""
        common = {"fingerprint": fingerprint(call), "policy_digest": call.judged}
        pending = self._recorder.append(draft(call, kind, **(common | fields)), payload)
        await pending.durable()
        return pending.event


def _check_filled(call: ToolCall) -> None:
    """A reference is only a promise of a value; policy has not seen the value, and no tool may get the promise."""
    if any(is_reference(value) for value in call.arguments.values()):
        raise Denied(f"{call.record.name} was called before its references were filled in", f"step {call.step}")


def _check_key(call: ToolCall) -> None:
    """The key is the runtime's own: without one an effect cannot be told from another, and nobody else chooses it."""
    if not call.key:
        raise Denied(f"{call.record.name} was called without an idempotency key", f"run {call.run}, step {call.step}")
    if call.record.key_argument and call.record.key_argument in call.arguments:
        raise Denied(
            f"the arguments of {call.record.name} hold {call.record.key_argument}, which only the runtime fills in",
            f"run {call.run}, step {call.step}",
        )


def _happened(answer: Outcome) -> Literal["yes", "no", "unknown", "nonsense"]:
    """What a reconciling tool said: {"happened": true, "result": ...}, false, or null if it does not know yet."""
    if answer.error or not isinstance(answer.value, dict) or "happened" not in answer.value:
        return "nonsense"
    happened = answer.value["happened"]
    if happened is None:
        return "unknown"
    return ("yes" if happened else "no") if isinstance(happened, bool) else "nonsense"


def _key_name(effect: ToolRecord, asked: ToolRecord) -> str:
    """Under which name a reconciling tool takes the key: its only argument, or the name the effect's own tool has."""
    names = list(asked.input_schema.get("properties", {}))
    return str(names[0]) if len(names) == 1 else effect.key_argument


def _result(call: ToolCall, outcome: Outcome) -> ToolResult:
    """The bare result, of the worst label: the outermost wrapper says what it is really labelled with."""
    return ToolResult(outcome.value, Labels(call.labels.tenant), outcome.error, call.cause)

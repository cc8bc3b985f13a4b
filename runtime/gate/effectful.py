"""The innermost wrapper: how an effect is carried out so that it happens once, or somebody knows that nobody knows.

Intent on disk, then the call, then the outcome on disk, then the result. When the middle is lost, the tool is asked
what became of it; the call is repeated only under the same idempotency key, and never in the blind.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from runtime.crashpoints import CrashPoint, reach
from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.decision import Judge
from runtime.gate.host import Host
from runtime.gate.labelled import result_labels
from runtime.gate.recorder import Recorder, draft, fingerprint
from store.records.canonical import Json
from store.records.errors import Denied, InDoubt, ReplayMismatch, Timeout, ToolFailed, Unreachable
from store.records.event import Event
from store.records.kinds import Kind
from store.records.labels import Labels
from tools.record import ToolRecord
from tools.toolset import Outcome

LOST = (ToolFailed, Unreachable, Timeout)
"""After one of these nobody knows whether the call took effect."""

PATIENCE_S = (0.1, 0.4, 1.5, 4.0)
"""Pauses between attempts to reach a tool again, in seconds: long enough for a tool host to be started anew."""


class Effectful(Gate):
    """Reads go straight to the host; everything else leaves an intent before and an outcome after.

    `records` are the tools by name, to find those that reconcile. `epoch` is the core's own.
    """

    def __init__(
        self,
        host: Host,
        recorder: Recorder,
        judge: Judge,
        records: Mapping[str, ToolRecord],
        epoch: int,
        patience_s: tuple[float, ...] = PATIENCE_S,
    ) -> None:
        self._host = host
        self._recorder = recorder
        self._judge = judge
        self._records = records
        self._epoch = epoch
        self._patience_s = patience_s
        self._open: dict[tuple[str, str], Event] = {}
        self._done: set[tuple[str, str]] = set()
        self._busy: set[tuple[str, str]] = set()

    def replay(self, events: Iterable[Event]) -> None:
        """Learn from the ledger which effects have an intent and which of those an outcome."""
        for event in events:
            if event.kind == Kind.EFFECT_INTENT:
                self._open[event.run, event.step] = event
            elif event.kind == Kind.EFFECT_OUTCOME:
                self._open.pop((event.run, event.step), None)
                self._done.add((event.run, event.step))

    def forget(self, run: str) -> None:
        """Drop what is known of a run that has ended, but for effects without an outcome."""
        self._done = {place for place in self._done if place[0] != run}

    def intent_of(self, run: str, step: str) -> Event | None:
        """The intent at this place that has no outcome yet."""
        return self._open.get((run, step))

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. An effect whose intent is already on record is settled instead of begun again.

        Raises ReplayMismatch if the effect at this step has an outcome, for then its result is in the ledger.
        """
        if call.record.local_read:
            return _result(call, await self._send(call, call.record, call.arguments, ""))
        place = call.run, call.step
        if place in self._done:
            raise ReplayMismatch("this effect has an outcome already", f"run {call.run}, step {call.step}")
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
            return await self._carry_out(call, intent)
        finally:
            self._busy.discard(place)

    async def settle(self, call: ToolCall, intent: Event) -> ToolResult:
        """Bring an effect with an intent and no outcome to its outcome.

        The tool is asked first; the call is made again, under the same key, only if the tool says that it did not
        happen, or has nobody to ask and takes a key. Raises InDoubt otherwise, and ReplayMismatch if the intent is not
        this call's.
        """
        if intent.fingerprint != fingerprint(call) or intent.tool != call.record.name:
            raise ReplayMismatch("the intent on record is for another call", f"run {call.run}, step {call.step}")
        if intent.tool_digest != call.record.digest:
            raise await self._in_doubt(call, intent, "the tool has changed since the intent")
        found = await self._find(call, intent)
        if found is None:
            return await self._carry_out(call, intent)
        return await self._close(call, intent, found)

    async def _carry_out(self, call: ToolCall, intent: Event) -> ToolResult:
        """Call until there is an outcome; between two calls the tool says that the first did not happen."""
        arguments = dict(call.arguments)
        if call.record.key_argument:
            arguments[call.record.key_argument] = call.key
        for pause in (*self._patience_s, None):
            try:
                outcome: Outcome | None = await self._send(call, call.record, arguments, call.key)
            except LOST:
                outcome = await self._find(call, intent)
            reach(CrashPoint.AFTER_CALL)
            if outcome is not None:
                return await self._close(call, intent, outcome)
            if pause is not None:
                await asyncio.sleep(pause)
        raise await self._in_doubt(call, intent, "the tool was lost again and again")

    async def _find(self, call: ToolCall, intent: Event) -> Outcome | None:
        """What became of the call: its outcome, or None if it may be made again. Raises InDoubt if nobody knows.

        Asking is part of the effect that policy let through: the record that names whom to ask is what was approved.
        """
        record = self._records.get(call.record.reconcile)
        if record is None:
            if call.record.key_argument:
                return None
            raise await self._in_doubt(call, intent, "the tool cannot be asked and takes no key")
        question = {call.record.key_argument: call.key}
        for pause in (*self._patience_s, None):
            try:
                answer = await self._send(call, record, question, "")
            except LOST:
                if pause is not None:
                    await asyncio.sleep(pause)
                continue
            if answer.error or not isinstance(answer.value, dict) or not isinstance(answer.value.get("happened"), bool):
                raise await self._in_doubt(call, intent, "the tool's answer about it makes no sense")
            return Outcome(answer.value.get("result")) if answer.value["happened"] else None
        raise await self._in_doubt(call, intent, "the tool could not be reached to ask about it")

    async def _send(self, call: ToolCall, record: ToolRecord, arguments: dict[str, Json], key: str) -> Outcome:
        return await self._host.call(record.name, arguments, key, call.record.timeout_s, self._epoch)

    async def _intend(self, call: ToolCall) -> Event:
        payload = {
            "key": call.key,
            "arguments": call.arguments,
            "approver": call.approval.approver if call.suspended_by and call.approval else "",
            "approved_by_policies": list(call.suspended_by),
        }
        intent = await self._append(call, Kind.EFFECT_INTENT, payload)
        self._open[call.run, call.step] = intent
        return intent

    async def _close(self, call: ToolCall, intent: Event, outcome: Outcome) -> ToolResult:
        """Record the outcome; only then is there a result."""
        await self._append(
            call,
            Kind.EFFECT_OUTCOME,
            {"key": call.key, "result": outcome.value},
            cause=intent.seq,
            decision="error" if outcome.error else "done",
            labels=result_labels(call, outcome.error),
        )
        self._open.pop((call.run, call.step), None)
        self._done.add((call.run, call.step))
        reach(CrashPoint.AFTER_OUTCOME)
        return _result(call, outcome)

    async def _in_doubt(self, call: ToolCall, intent: Event, why: str) -> InDoubt:
        """The error to raise, once it is on record. The intent stays open: a later run may find out."""
        await self._append(call, Kind.EFFECT_IN_DOUBT, {"key": call.key, "why": why}, cause=intent.seq)
        return InDoubt(
            f"nobody knows whether {call.record.name} happened: {why}",
            f"run {call.run}, step {call.step}",
            "look at what it acts on, then resume or settle the run",
        )

    async def _append(self, call: ToolCall, kind: Kind, payload: Json, **fields: Any) -> Event:
        """Append an event of this effect and wait until it is on disk."""
        common = {"fingerprint": fingerprint(call), "policy_digest": self._judge.digest}
        pending = self._recorder.append(draft(call, kind, **(common | fields)), payload)
        await pending.durable()
        return pending.event


def _check_key(call: ToolCall) -> None:
    """The key is the runtime's own: an effect without one cannot be told from another, and nobody else may choose it."""
    if not call.key:
        raise Denied(f"{call.record.name} was called without an idempotency key", f"run {call.run}, step {call.step}")
    if call.record.key_argument and call.record.key_argument in call.arguments:
        raise Denied(
            f"the arguments of {call.record.name} hold {call.record.key_argument}, which only the runtime fills in",
            f"run {call.run}, step {call.step}",
        )


def _result(call: ToolCall, outcome: Outcome) -> ToolResult:
    """The bare result, of the worst label: the outermost wrapper says what it is really labelled with."""
    return ToolResult(outcome.value, Labels(call.labels.tenant), outcome.error)

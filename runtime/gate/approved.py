"""The approval wrapper: a suspended call passes only with a person's yes to exactly this call.

It never asks anybody and never waits. An approval that fits another call, however similar, is worth nothing.
"""

from collections.abc import Callable
from dataclasses import replace

from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.decision import Judge
from runtime.gate.recorder import Recorder, draft, fingerprint
from store.records.errors import Denied
from store.records.kinds import Kind

Knows = Callable[[str], bool]
"""Whether a name is that of somebody who may approve."""


class Approved(Gate):
    """Compares the approval that a suspended call carries with the call as it is now."""

    def __init__(self, inner: Gate, judge: Judge, knows: Knows, recorder: Recorder) -> None:
        self._inner = inner
        self._judge = judge
        self._knows = knows
        self._recorder = recorder

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. Raises Denied if the call was suspended and its approval is missing or void."""
        return await self._inner.call(self.check(call))

    def check(self, call: ToolCall) -> ToolCall:
        """The call, if it needs no approval or has the right one, which is recorded. Raises Denied, recorded too."""
        if not call.suspended_by:
            return call
        problem = self._problem(call)
        pending = self._recorder.append(
            draft(
                call,
                Kind.DECISION,
                decision="deny" if problem else "allow",
                policy_digest=self._judge.digest,
                fingerprint=fingerprint(call),
            ),
            {
                "by": "approval",
                "policies": list(call.suspended_by),
                "approver": call.approval.approver if call.approval else "",
                "binding": call.approval.binding if call.approval else "",
                "problem": problem,
            },
        )
        if problem:
            raise Denied(f"{call.record.name}: {problem}", f"run {call.run}, step {call.step}")
        return replace(call, cause=pending.event.seq)

    def _problem(self, call: ToolCall) -> str:
        if call.approval is None:
            return "nobody has approved it"
        if call.approval.binding != call.binding(self._judge.digest):
            return "the approval is for another call (tool, arguments, policy, identity or key have changed since)"
        if not self._knows(call.approval.approver):
            return "whoever approved it is not known as an approver"
        return ""

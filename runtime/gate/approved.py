"""The approval wrapper: a suspended call passes only with the yes of as many people as policy asks for, to this call.

It never asks anybody and never waits. An approval that fits another call, however similar, is worth nothing.
"""

from dataclasses import replace

from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.decision import Judge
from runtime.gate.grants import Grants
from runtime.gate.people import People
from runtime.gate.recorder import Recorder, fingerprint, ruling
from store.records.canonical import Json
from store.records.errors import Denied


class Approved(Gate):
    """Compares the approvals that a suspended call carries with the call as it is now."""

    def __init__(self, inner: Gate, judge: Judge, people: People, grants: Grants, recorder: Recorder) -> None:
        self._inner = inner
        self._judge = judge
        self._people = people
        self._grants = grants
        self._recorder = recorder

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. Raises Denied if the call was suspended and an approval of it is missing or void."""
        return await self._inner.call(self.check(call))

    def check(self, call: ToolCall) -> ToolCall:
        """The call, if it needs no approval or has the right ones, which is recorded. Raises Denied, recorded too."""
        if not call.suspended_by:
            return call
        problem = self._problem(call)
        payload: Json = {
            "by": "approval",
            "policies": list(call.suspended_by),
            "approvers": [each.approver for each in call.approvals],
            "grants": [each.grant for each in call.approvals if each.grant],
            "bindings": sorted({each.binding for each in call.approvals}),
            "problem": problem,
        }
        facts = {"policy_digest": self._judge.digest, "fingerprint": fingerprint(call)}
        cause = ruling(self._recorder, call, payload, decision="deny" if problem else "allow", **facts)
        if problem:
            raise Denied(f"{call.record.name}: {problem}", f"run {call.run}, step {call.step}")
        return replace(call, cause=cause)

    def _problem(self, call: ToolCall) -> str:
        if not call.approvals:
            return "nobody has approved it"
        binding = call.binding(self._judge.digest)
        if any(each.binding != binding for each in call.approvals):
            return "the approval is for another call (tool, arguments, policy, identity or labels have changed since)"
        standing = [each for each in call.approvals if not each.grant or self._grants.stands(each, call)]
        yes = self._people.counted(standing, call.principal.user, call.terms)
        if not yes:
            return "whoever approved it is not known as an approver, or may not approve this"
        if len(yes) < call.terms.approvers:
            return f"{len(yes)} of {call.terms.approvers} people have approved it"
        return ""

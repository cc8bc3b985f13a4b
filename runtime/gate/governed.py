"""The policy wrapper: every call is judged, every ruling is on record before anything follows from it."""

from dataclasses import replace

from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.decision import Decision, Judge
from runtime.gate.errors import Suspended
from runtime.gate.recorder import Recorder, fingerprint, ruling
from runtime.gate.terms import ONE
from store.records.canonical import Json
from store.records.errors import Denied


class Governed(Gate):
    """Passes on what policy allows, and what it suspends once an approval comes with the call."""

    def __init__(self, inner: Gate, judge: Judge, recorder: Recorder) -> None:
        self._inner = inner
        self._judge = judge
        self._recorder = recorder

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. Raises Denied or Suspended before anything happens."""
        return await self._inner.call(self.judge(call))

    def judge(self, call: ToolCall) -> ToolCall:
        """The call with `suspended_by` and `terms` as policy says them now, whatever they were before; records the
        ruling, which is what the rest follows from.

        Raises Denied, or Suspended if policy wants a person's word and the call carries none. Whether the word it
        carries is the right one is for the next wrapper.
        """
        try:
            arguments = fingerprint(call)
        except Denied:
            self._record(call, Decision("deny", (), self._judge.digest, ("the arguments are not JSON",)), "", None)
            raise
        decision = self._judge.decide(call)
        cause = self._record(call, decision, arguments, call.arguments)
        call = replace(call, cause=cause, judged=decision.policy_digest)
        if decision.effect == "allow":
            return replace(call, suspended_by=(), terms=ONE)
        if decision.effect == "suspend":
            call = replace(call, suspended_by=decision.policies, terms=decision.terms)
            if not call.approvals:
                raise Suspended(call, call.binding(decision.policy_digest))
            return call
        raise _denied(call, decision)

    def _record(self, call: ToolCall, decision: Decision, arguments_digest: str, arguments: Json) -> int:
        """Put a ruling on record; the number of its event."""
        payload: Json = {
            "by": "policy",
            "policies": list(decision.policies),
            "errors": list(decision.errors),
            "user": call.principal.user.json(),
            "arguments": arguments,
            "reviewed": call.reviewed,
            "origins": [origin.json() for origin in call.origins],
        }
        facts = {"policy_digest": decision.policy_digest, "fingerprint": arguments_digest}
        return ruling(self._recorder, call, payload, decision=decision.effect, **facts)


def _denied(call: ToolCall, decision: Decision) -> Denied:
    """The denial, naming what decided; the engine's own words stay in the payload, for they may quote arguments."""
    if decision.errors:
        why = "could not be judged, and what cannot be judged is denied"
    elif decision.policies:
        why = f"is forbidden by {', '.join(decision.policies)}"
    else:
        why = "is permitted by no policy"
    return Denied(f"{call.record.name} {why}", f"run {call.run}, step {call.step}")

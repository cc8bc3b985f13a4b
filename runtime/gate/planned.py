"""The plan wrapper: where a run has a frozen plan, what its model decides is in the plan, or does not happen.

It compares, and believes nobody: tool, arguments and labels of a call are worked out anew from the plan and from what
its variables are bound to. Calls that the workflow's own rules decide are no part of any plan, and pass.
"""

from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.recorder import Recorder, draft
from store.records.errors import Denied
from store.records.kinds import Kind

RULE = "plan:frozen"
"""The rule that such a denial names, as policies have names."""


class Planned(Gate):
    """Denies what a frozen plan binds and does not have."""

    def __init__(self, inner: Gate, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. Raises Denied for a call that is not the one that the plan has in its place."""
        return await self._inner.call(self.check(call))

    def check(self, call: ToolCall) -> ToolCall:
        """The call, if no plan binds it or it is just as planned. Raises Denied, and puts it on record, if not."""
        if call.placed is None:
            return call
        problem = call.placed.problem(call.record.name, call.arguments, call.labels)
        if not problem:
            return call
        plan, step = call.placed.plan.digest, call.placed.step
        self._recorder.append(
            draft(call, Kind.DECISION, decision="deny"),
            {"by": "plan", "policies": [RULE], "plan": plan, "place": step, "problem": problem},
        )
        raise Denied(f"{call.record.name} {problem} ({RULE})", f"run {call.run}, step {call.step}")

"""The outermost wrapper: labels go in with the call and come out, joined, with the result.

It trusts no label that comes from below: what a result is labelled with follows from the call and the tool's record
alone, so no tool can vouch for itself.
"""

from dataclasses import replace

from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.recorder import Recorder, draft
from store.records.errors import Denied
from store.records.kinds import Kind
from store.records.labels import Classification, Integrity, Labels


class Labelled(Gate):
    """Denies what belongs to another tenant and labels what comes back."""

    def __init__(self, inner: Gate, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. Raises Denied if the labels of the arguments are not of the caller's tenant."""
        self.check(call)
        result = await self._inner.call(call)
        return replace(result, labels=result_labels(call, result.error))

    def check(self, call: ToolCall) -> None:
        """Raise Denied, and put it on record, if the call carries another tenant's values."""
        tenant = call.principal.user.tenant
        if call.labels.tenant == tenant:
            return
        self._recorder.append(
            draft(call, Kind.DECISION, decision="deny"),
            {"by": "labels", "tenant": tenant, "labels": call.labels.json()},
        )
        raise Denied(
            f"{call.record.name} was called with values of another tenant", f"run {call.run}, step {call.step}"
        )


def result_labels(call: ToolCall, error: bool) -> Labels:
    """The labels of what a call gives back: the call's own, joined with the tool's output label.

    A label name that nobody knows counts as the worst one. The text of an error is whatever the server cares to say,
    so it is never trusted, even of a tool whose results are.
    """
    declared = call.record.output_label
    classification = Classification.__members__.get(declared.classification.upper(), Classification.RESTRICTED)
    integrity = Integrity.__members__.get(declared.integrity.upper(), Integrity.UNTRUSTED)
    if error:
        integrity = Integrity.UNTRUSTED
    output = Labels(call.labels.tenant, classification, integrity, (f"tool:{call.record.name}",))
    return call.labels.join(output)

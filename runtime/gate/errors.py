"""The one error that only the gate raises: a call that a person must answer for first."""

from runtime.gate.call import ToolCall
from store.records.errors import Waiting


class Suspended(Waiting):
    """Policy would let the call through, but for the approval `policies` named here.

    An approval must carry `binding`; it holds for this very call under this very policy and for nothing else.
    """

    def __init__(self, call: ToolCall, binding: str, policies: tuple[str, ...]) -> None:
        super().__init__(
            f"{call.record.name} waits for a person, by {', '.join(policies)}",
            f"run {call.run}, step {call.step}",
            "answer the approval",
        )
        self.call, self.binding, self.policies = call, binding, policies

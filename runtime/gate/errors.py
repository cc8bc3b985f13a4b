"""What keeps a call waiting: a person must answer for it first; and what ends the waiting without an answer."""

from runtime.gate.call import ToolCall
from store.records.errors import BailiwickError, Waiting


class Suspended(Waiting):
    """Policy would let the call through, but for the approval policies that its `suspended_by` names.

    An approval must carry `binding`; it holds for this very call under this very policy and for nothing else.
    """

    def __init__(self, call: ToolCall, binding: str) -> None:
        super().__init__(
            f"{call.record.name} waits for a person, by {', '.join(call.suspended_by)}",
            f"run {call.run}, step {call.step}",
            "answer the approval",
        )
        self.call, self.binding = call, binding

    @property
    def policies(self) -> tuple[str, ...]:
        """The approval policies that hold the call."""
        return self.call.suspended_by


class Outdated(BailiwickError):
    """Other policies are in force than those that asked for a person: what was asked has no answer any more, and the
    call is judged anew."""

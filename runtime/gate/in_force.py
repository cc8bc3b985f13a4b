"""The policies that are in force, which can be exchanged while the runtime is up: as a whole, or not at all."""

from runtime.gate.call import ToolCall
from runtime.gate.decision import Decision
from runtime.gate.policy import Policy


class InForce:
    """The Judge of a core. One event loop owns it: a call is judged by one version or by the other, never by both."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @property
    def digest(self) -> str:
        """As Judge.digest, of the version in force."""
        return self.policy.digest

    def why(self, policy: str) -> str:
        """As Judge.why, of the version in force."""
        return self.policy.why(policy)

    def decide(self, call: ToolCall) -> Decision:
        """As Judge.decide, by the version in force."""
        return self.policy.decide(call)

    def exchange(self, policy: Policy) -> None:
        """Let these policies be in force from the next decision on. Approvals bind to a version, so those that were
        given under the one before hold no longer."""
        self.policy = policy

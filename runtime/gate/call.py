"""What passes through the gate, and the one interface that every wrapper and the tool host implement."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from store.records.canonical import Json, digest
from store.records.identity import Principal
from store.records.labels import Labels
from tools.record import ToolRecord


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's yes to exactly one call: it holds for `binding` and no other. `approver` is a user's name.

    `answer` is the number of the event that put it on record, 0 if there is none.
    """

    binding: str
    approver: str
    answer: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of one tool, on behalf of one principal.

    `key` is the idempotency key of an effect (run and step), empty for a read. `labels` are the join of everything
    that led to the call. `reviewed` says that the reviewer agreed to the change set the call is in. `suspended_by`
    names the approval policies that hold the call for a person; only the policy wrapper sets it. `cause` is the number
    of the event that the next event about the call follows from, 0 for none: it counts for nothing else.
    """

    run: str
    step: str
    record: ToolRecord
    arguments: dict[str, Json]
    principal: Principal
    labels: Labels
    workflow: str = ""
    workflow_version: int = 0
    key: str = ""
    reviewed: bool = False
    approval: Approval | None = None
    suspended_by: tuple[str, ...] = ()
    cause: int = 0

    def binding(self, policy_digest: str) -> str:
        """The digest that an approval binds to: tool version, canonical arguments, policy and identity."""
        return digest(
            {
                "tool": self.record.digest,
                "arguments": self.arguments,
                "policy": policy_digest,
                "user": self.principal.user.json(),
                "agent": [self.principal.agent.name, self.principal.agent.version],
                "key": self.key,
            }
        )


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came back, labelled. With `error` the value is the tool's own message. `cause` is the call's last one."""

    value: Json
    labels: Labels
    error: bool = False
    cause: int = 0


def is_reference(value: Json) -> bool:
    """Whether an argument is a reference to a field of an earlier effect's result, {"$ref": [step, field]}.

    Such a call can be judged, as far as the rest of it goes, but not made: the value is filled in first.
    """
    return isinstance(value, dict) and set(value) == {"$ref"}


class Gate(ABC):
    """All that a wrapper knows of the next one."""

    @abstractmethod
    async def call(self, call: ToolCall) -> ToolResult:
        """Let the call through, or raise Denied, Waiting, BudgetExceeded, InDoubt, ToolFailed or Timeout."""

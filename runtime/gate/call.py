"""What passes through the gate, and the one interface that every wrapper and the tool host implement."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.gate.plan import Placed
from runtime.gate.provenance.grounds import NOTHING, Grounds
from runtime.gate.provenance.origin import Origin
from runtime.gate.terms import ONE, Terms
from store.records.canonical import Json, digest
from store.records.event import Event
from store.records.identity import Principal
from store.records.labels import Labels
from tools.record import ToolRecord


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's yes to exactly one call: it holds for `binding` and no other. `approver` is a user's name.

    `answer` is the number of the event that put it on record, 0 if there is none. `grant` is the standing grant through
    which it was given, empty if they gave it to this very call.
    """

    binding: str
    approver: str
    answer: int = 0
    grant: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of one tool, on behalf of one principal.

    `key` is the idempotency key of an effect (run and step), empty for a read. `labels` are the join of everything
    that led to the call. `reviewed` says that the reviewer agreed to the change set the call is in. `suspended_by`
    names the approval policies that hold the call for a person, and `terms` what they ask for; `judged` is the digest
    of the policies that it was judged by. Only the policy wrapper sets these. `cause` is the number of the event that
    the next event about the call follows from, 0 for none: it counts for nothing else. `rulings` are those on record
    about it, from earlier lives of the run, with their payloads: a call that is judged again is judged anew, but a
    ruling that would say the same once more is not written again. `grounds` are what trust in its arguments can rest
    on, by default nothing; `origins` tell of each consequential argument where it comes from, and only the label
    wrapper sets them. `placed` is the call's place in the frozen plan of its run, None if no plan binds it.
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
    approvals: tuple[Approval, ...] = ()
    suspended_by: tuple[str, ...] = ()
    terms: Terms = ONE
    judged: str = ""
    cause: int = 0
    rulings: Sequence[tuple[Event, Json]] = ()
    grounds: Grounds = NOTHING
    origins: tuple[Origin, ...] = ()
    placed: Placed | None = None

    @property
    def vouched(self) -> bool:
        """Whether each consequential argument is trusted, and there is one: nothing vouches for a call without any."""
        return bool(self.origins) and all(origin.trusted for origin in self.origins)

    def binding(self, policy_digest: str) -> str:
        """The digest that an approval binds to, hex SHA-256 of `bound`."""
        return digest(self.bound(policy_digest))

    def bound(self, policy_digest: str) -> dict[str, Json]:
        """All that an approval binds to, which is what a person is shown: the tool and its version, the canonical
        arguments, the policy and those of its rules that ask for a person, who asks through which agent in which
        workflow, the labels of what led there, and where there is a frozen plan, which one and which of its steps."""
        agent, placed = self.principal.agent, self.placed
        plan: dict[str, Json] = {"plan": {"digest": placed.plan.digest, "step": placed.step}} if placed else {}
        return {
            "tool": self.record.name,
            "tool_version": self.record.version,
            "tool_digest": self.record.digest,
            "arguments": self.arguments,
            "policy": policy_digest,
            "policies": list(self.suspended_by),
            "user": self.principal.user.json(),
            "agent": [agent.name, agent.version],
            "workflow": self.workflow,
            "workflow_version": self.workflow_version,
            "labels": self.labels.json(),
            "reviewed": self.reviewed,
            "key": self.key,
            **plan,
        }


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

"""Standing grants: one approver's yes, given beforehand to calls of a narrow kind, until a date.

A grant names exact values, never patterns. It counts as the yes of whoever gave it and as nothing more, and is void
once the tool or the policy is another. A use is counted before it holds, so that no race and no crash makes one more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from runtime.gate.ages import Age, Ages
from runtime.gate.call import Approval, ToolCall
from runtime.gate.decision import Judge
from store.records.canonical import Json, canonical, digest
from store.records.event import Event
from store.records.kinds import Kind
from tools.record import ToolRecord

KINDS = (Kind.GRANT_ADDED, Kind.GRANT_USED, Kind.GRANT_REVOKED)


@dataclass(frozen=True, slots=True)
class Grant:
    """What `author` says yes to: calls of one version of a tool under one version of the policy, with these arguments
    (each one of the values listed for it), for this user, agent and workflow (empty: any), until a time (ISO 8601, UTC)
    and so many times (None: any number). It covers a tool whose effects cannot be undone only if it says so."""

    author: str
    tenant: str
    tool: str
    tool_digest: str
    policy_digest: str
    arguments: Mapping[str, tuple[Json, ...]]
    user: str
    agent: str
    workflow: str
    until: str
    times: int | None
    irreversible: bool

    def json(self) -> dict[str, Json]:
        """As plain JSON, all of it: what its author is shown before it is saved."""
        return {**asdict(self), "arguments": {name: list(values) for name, values in self.arguments.items()}}

    @classmethod
    def parse(cls, value: dict[str, Any]) -> "Grant":
        """The grant in `value`, as `json` writes it."""
        return cls(**{**value, "arguments": {name: tuple(each) for name, each in value["arguments"].items()}})

    @property
    def digest(self) -> str:
        """The hex SHA-256 of all that it says."""
        return digest(self.json())

    def covers(self, call: ToolCall, policy_digest: str) -> bool:
        """Whether a call falls in its scope.

        Of the arguments that decide what is touched, those that it gives no value for must not be in the call.
        """
        principal, record = call.principal, call.record
        return (
            (self.tenant, self.tool, self.tool_digest) == (principal.user.tenant, record.name, record.digest)
            and self.policy_digest == policy_digest
            and self.user in ("", principal.user.name)
            and self.agent in ("", principal.agent.name)
            and self.workflow in ("", call.workflow)
            and (self.irreversible or not record.irreversible)
            and all(name in call.arguments for name in self.arguments)
            and all(_among(call.arguments[name], values) for name, values in self.arguments.items())
            and not (deciding(record, call.arguments) - self.arguments.keys())
        )


def deciding(record: ToolRecord, arguments: Mapping[str, Json]) -> set[str]:
    """Those of the arguments that decide what is touched: all of them, if nobody has said which of a tool's do."""
    declared = {*record.consequential, record.target} - {""}
    return {name for name in arguments if not declared or name in declared}


@dataclass(slots=True)
class Standing:
    """A grant that was saved, and the bindings of the calls that it was used for."""

    id: str
    grant: Grant
    age: Age
    lasts_s: float
    revoked: bool = False
    uses: set[str] = field(default_factory=set)

    @property
    def state(self) -> str:
        """`standing`, or why it does nothing any more: `revoked`, `ended` or `used up`."""
        if self.revoked:
            return "revoked"
        if self.age() >= self.lasts_s:
            return "ended"
        used_up = self.grant.times is not None and len(self.uses) >= self.grant.times
        return "used up" if used_up else "standing"


class Grants:
    """All grants of a site. One event loop owns it, so that nothing comes between looking at a grant and counting."""

    def __init__(self, judge: Judge, ages: Ages) -> None:
        self._judge = judge
        self._ages = ages
        self.all: dict[str, Standing] = {}

    def replay(self, event: Event, payload: Json) -> None:
        """Learn of one event of KINDS, from the ledger or as it was just put there; its `decision` is the grant's id.

        Only the event that added a grant needs its payload.
        """
        found = self.all.get(event.decision)
        if event.kind == Kind.GRANT_ADDED:
            grant = Grant.parse(payload["grant"])
            lasts = datetime.fromisoformat(grant.until) - datetime.fromisoformat(event.time)
            age = self._ages.of(event)
            self.all[event.decision] = Standing(event.decision, grant, age, lasts.total_seconds())
        elif found is not None and event.kind == Kind.GRANT_USED:
            found.uses.add(event.fingerprint)
        elif found is not None:
            found.revoked = True

    def covering(self, call: ToolCall) -> Iterator[Standing]:
        """The grants that may be used for a call, the oldest first. Whoever uses one counts that first."""
        for each in self.all.values():
            if each.state == "standing" and each.grant.covers(call, self._judge.digest):
                yield each

    def stands(self, approval: Approval, call: ToolCall) -> bool:
        """Whether an approval that was given through a grant still holds: the use is counted, and the grant has neither
        ended nor been revoked since."""
        found = self.all.get(approval.grant)
        return (
            found is not None
            and found.state in ("standing", "used up")
            and approval.binding in found.uses
            and approval.approver == found.grant.author
            and found.grant.covers(call, self._judge.digest)
        )


def _among(value: Json, values: tuple[Json, ...]) -> bool:
    """Whether a value is exactly one of these, as canonical JSON has it: 1 is neither "1" nor true."""
    return canonical(value) in {canonical(each) for each in values}

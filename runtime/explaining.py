"""Past decisions, explained: the call as the ledger has it, judged once more by the policies that were in force then.

Reads the log through the gateway's queries, like anybody; decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.gate.call import ToolCall
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.gate.policy_explanation import Explanation, explain
from runtime.gate.policy_files import PolicyFile
from runtime.gate.provenance.origin import Origin
from runtime.gateway.backend import Queries
from runtime.gateway.messages import EventView, PolicyView
from store.records.canonical import Json
from store.records.errors import SettingsError
from store.records.identity import Agent, Principal, User
from store.records.kinds import Kind
from store.records.labels import Labels
from tools.record import ToolRecord

CAUSES = 100
"""How many events are gone back through, from one that followed from a ruling."""


@dataclass(frozen=True)
class Past:
    """A ruling of policy on record: its event, what was decided and by which policies, and why.

    `exact` says that the policies are, to this version of the runtime, what they were then.
    """

    event: int
    decision: str
    policies: tuple[str, ...]
    explanation: Explanation
    exact: bool

    @property
    def same(self) -> bool:
        """Whether the policies say today what they are on record as having said."""
        now = self.explanation.decision
        return (now.effect, now.policies) == (self.decision, self.policies)

    def json(self) -> Json:
        """As plain JSON."""
        recorded = {"decision": self.decision, "policies": list(self.policies)}
        return {
            "event": self.event,
            "recorded": recorded,
            "same": self.same,
            "exact": self.exact,
            **self.explanation.json(),
        }


async def explain_event(queries: Queries, number: int) -> Past:
    """Why a call was decided as it was, by the number of the ruling, or of an event that followed from it.

    Raises SettingsError if there is no such event, it follows from no ruling of policy, or what the ruling was about is
    not on record; Denied if the caller may not see policies.
    """
    looked_at = number
    for _ in range(CAUSES):
        found = await queries.events(looked_at - 1, limit=1, payloads=True) if looked_at > 0 else []
        if not found or found[0].event["seq"] != looked_at:
            raise SettingsError(f"there is no event {looked_at} of yours", do="`bailiwick audit tail` shows them")
        if _is_ruling(found[0]):
            return await _explained(queries, found[0])
        looked_at = found[0].event["cause"]
        if not looked_at:
            break
    raise SettingsError(f"event {number} follows from no ruling of policy", do="name a run and a step instead")


def ruling_in(events: Sequence[EventView], step: str) -> int:
    """The number of policy's newest ruling on a step; without one, of the newest in the run that was no allow, if there
    is any. Raises SettingsError if there is none."""
    found = [each for each in events if _is_ruling(each) and step in ("", each.event["step"])]
    if not found:
        raise SettingsError(
            "policy ruled on nothing there", f"step {step}" if step else "", "see `bailiwick runs show`"
        )
    chosen = [each for each in found if each.event["decision"] != "allow"] if not step else []
    number: int = (chosen or found)[-1].event["seq"]
    return number


def policy_of(view: PolicyView) -> Policy:
    """A version of the policies as it was kept. Raises SettingsError if this version of the runtime cannot read it."""
    files = [PolicyFile(name, text) for name, text in view.files]
    records = [ToolRecord.model_validate(each) for each in view.records]
    return Policy.of(files, records, Inventory(dict(view.inventory)))


async def _explained(queries: Queries, view: EventView) -> Past:
    event, payload = view.event, view.payload
    if not isinstance(payload, dict):
        raise SettingsError("what was judged is not on record any more", f"event {event['seq']}", view.gone)
    policy = policy_of(await queries.policy(event["policy_digest"]))
    call = _call(event, payload, {record.digest: record for record in policy.records})
    decided = tuple(payload["policies"])
    exact = policy.digest == event["policy_digest"]
    return Past(event["seq"], event["decision"], decided, explain(policy, call), exact)


def _is_ruling(view: EventView) -> bool:
    return view.event["kind"] == Kind.DECISION and bool(view.event["policy_digest"]) and _by_policy(view.payload)


def _by_policy(payload: Any) -> bool:
    return payload is None or (isinstance(payload, dict) and payload.get("by") == "policy")


def _call(event: dict[str, Any], payload: dict[str, Any], records: dict[str, ToolRecord]) -> ToolCall:
    record = records.get(event["tool_digest"])
    if record is None:
        raise SettingsError(f"{event['tool']} was another tool then than these policies know", f"event {event['seq']}")
    if "user" not in payload or payload["arguments"] is None:
        raise SettingsError("the ledger does not say of whom, or what, that call was", f"event {event['seq']}")
    user, agent = User.parse(payload["user"]), Agent(event["actor"], event["actor_version"])
    origins = tuple(
        Origin(each["argument"], each["trusted"], tuple(each["sources"])) for each in payload.get("origins", ())
    )
    return ToolCall(
        run=event["run"],
        step=event["step"],
        record=record,
        arguments=payload["arguments"],
        principal=Principal(user, agent),
        labels=Labels.parse(event["labels"]),
        workflow=event["workflow"],
        workflow_version=event["workflow_version"],
        reviewed=payload["reviewed"],
        origins=origins,
    )

"""The shipped policy sets against the issue's own words, for every kind of call that there is.

What must be decided is written down here once more, in Python and not in Cedar, and compared over the whole domain.
"""

from itertools import product
from typing import Any

import pytest

from runtime.gate.call import ToolCall
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.gate.provenance.origin import Origin
from runtime.gate.terms import ONE, Terms
from store.records.identity import ROLES, Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels
from tools.record import Effect, ToolRecord

SITE = Inventory.services(["gateway", "orders"])
BOTH = (True, False)
AGENTS = ("worker", "rule", "core", "router", "reviewer")
ACTS = ("worker", "rule")
ANOTHER = Terms(1, True)
"""One person, who is not who asked."""
Said = tuple[str, Terms]


def tools() -> list[ToolRecord]:
    """A tool for each way of being classified."""
    return [
        ToolRecord(
            name=f"x.{effect}_{egress}_{irreversible}".lower(),
            effect=effect,
            egress=egress,
            irreversible=irreversible,
            input_schema={"type": "object", "properties": {"what": {"type": "string"}}},
        )
        for effect, egress, irreversible in product(Effect, BOTH, BOTH)
    ]


def strict(call: ToolCall) -> Said:
    """What the issue says of the set `strict`."""
    principal, record = call.principal, call.record
    if "requester" not in principal.user.roles or principal.agent.name not in ACTS:
        return "deny", ONE
    if record.effect is Effect.READ and not record.egress:
        return "allow", ONE  # reads in scope
    if not call.reviewed:
        return "deny", ONE  # every side effect reviewed
    writes = record.effect is Effect.WRITE
    led = call.labels.integrity is Integrity.UNTRUSTED and writes
    if not call.vouched and (led or record.egress):
        return "suspend", ANOTHER  # a person, unless every consequential argument is trusted
    return ("suspend", ANOTHER) if writes and record.irreversible else ("allow", ONE)


def calls(records: list[ToolRecord], arguments: dict[str, Any]) -> list[ToolCall]:
    """Every kind of call of these tools."""
    made = []
    users = [User("ann", 61001, "acme", "ops", roles) for roles in (("requester",), ROLES[1:], ROLES)]
    kinds = product(records, users, AGENTS, BOTH, Integrity, BOTH, (Classification.PUBLIC, Classification.RESTRICTED))
    for record, user, agent, reviewed, integrity, vouched, secrecy in kinds:
        call = ToolCall(
            run="r1",
            step="1",
            record=record,
            arguments=arguments,
            principal=Principal(user, Agent(agent, "1")),
            labels=Labels("acme", secrecy, integrity),
            reviewed=reviewed,
            origins=(Origin("what", vouched, ()),),
        )
        made.append(call)
    return made


def test_strict_decides_every_kind_of_call_as_the_issue_says() -> None:
    records = tools()
    policy = Policy.load("strict", records, SITE)
    every = calls(records, {"what": "it"})
    assert len(every) == 8 * 3 * 5 * 2 * 2 * 2 * 2
    for call in every:
        decision = policy.decide(call)
        assert (decision.effect, decision.terms) == strict(call), call
        assert decision.errors == ()


REPAIRS = ("ops.restart_service", "ops.clear_quota", "ops.set_dependency", "ops.rollback_config")
NOTICES = ("ops.page_on_call", "ops.open_ticket")


def lab(call: ToolCall) -> str:
    """What the issue and the demo say of the set `lab`."""
    principal, record = call.principal, call.record
    if "requester" not in principal.user.roles or principal.agent.name not in ACTS or record.egress:
        return "deny"
    if record.effect is Effect.READ:
        return "allow"
    if not call.reviewed or record.name not in (*REPAIRS, *NOTICES):
        return "deny"
    if record.name in REPAIRS and SITE.kind_of(call.arguments["service"]) != "Service":
        return "deny"
    return "suspend" if record.name == "ops.rollback_config" else "allow"


@pytest.mark.parametrize(
    ("service", "leaves"), [("orders", False), ("orders", True), ("Orders", False), ("../orders", False), ("", False)]
)
def test_lab_lets_through_named_repairs_of_known_services_and_nothing_else(service: str, leaves: bool) -> None:
    schema = {"type": "object", "properties": {"service": {"type": "string"}}}
    local = {"egress": False, "irreversible": False, "input_schema": schema, "target": "service"}
    named = [ToolRecord(name=name, **local) for name in (*REPAIRS, *NOTICES, "ops.wipe_data", "other.restart_service")]
    records = [*named, ToolRecord(name="ops.read_logs", **local | {"effect": Effect.READ})]
    if leaves:
        records = [record.model_copy(update={"egress": True}) for record in records]
    policy = Policy.load("lab", records, SITE)
    for call in calls(records, {"service": service}):
        assert policy.decide(call).effect == lab(call), call

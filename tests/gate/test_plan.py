"""The gate and a frozen plan: what is not in the plan does not exist, whoever proposes it and however it is told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runtime.gate.build import Gatehouse
from runtime.gate.call import Approval, ToolCall
from runtime.gate.errors import Suspended
from runtime.gate.plan import ITEM, Placed, Plan, Value
from runtime.gate.provenance.grounds import Grounds
from store.records.canonical import Json, digest
from store.records.errors import Denied
from store.records.kinds import Kind
from store.records.labels import Classification, Integrity, Labels, trusted

Make = Callable[..., Gatehouse]
Call = Callable[..., ToolCall]
Recorded = Callable[..., list[tuple[Any, Any]]]

USER = trusted("local", "user")
SAID = Labels("local", Classification.CONFIDENTIAL, Integrity.UNTRUSTED, ("tool:ops.read_logs",))
BODY: Json = {"variable": "v2", "field": "id"}
STEPS: Json = [
    {"name": "v1", "call": "ops.read_logs", "arguments": {"service": {"value": "orders"}}},
    {"name": "v2", "call": "ops.restart_service", "arguments": {"service": {"variable": "v1", "field": "lines"}}},
    {"name": "v3", "each": {"variable": "v1"}, "call": "ops.poke", "arguments": {"service": {"constant": "spare"}}},
    {"name": "v4", "call": "ops.send_mail", "arguments": {"to": {"value": "x"}, "body": BODY}},
]
PLAN = Plan.parse({"steps": STEPS, "constants": {"spare": "gateway"}}, USER)
BOUND = {"v1": Value({"lines": "orders"}, USER.join(SAID)), "v2": Value(None, USER.join(SAID), "7")}


MISSING, OTHER = "is not in the frozen plan", "has other values than in the frozen plan"
LESS = "has less on its labels than its values"


def placed(step: str, **more: Value) -> Placed:
    return Placed(PLAN, step, BOUND | more)


async def test_a_call_that_is_the_planned_one_passes(gatehouse: Make, call: Call, recorded: Recorded) -> None:
    result = await gatehouse().call(call("ops.read_logs", placed=placed("v1")))
    assert result.labels.sources == ("tool:ops.read_logs", "user")
    assert [event.decision for event, _ in recorded(Kind.DECISION)] == ["allow"]


@pytest.mark.parametrize(
    ("step", "tool", "changes", "problem"),
    [
        ("", "ops.read_logs", {}, MISSING),
        ("v9", "ops.read_logs", {}, MISSING),
        ("v2", "ops.read_logs", {}, MISSING),
        ("v1", "ops.web_search", {"arguments": {"query": "orders"}}, MISSING),
        ("v1", "ops.read_logs", {"arguments": {}}, "has other arguments than in the frozen plan"),
        ("v1", "ops.read_logs", {"arguments": {"service": "gateway"}}, OTHER),
        ("v1", "ops.read_logs", {"arguments": {"service": {1}}}, "cannot be compared with the frozen plan"),
        ("v2", "ops.restart_service", {"arguments": {"service": "gateway"}}, OTHER),
        ("v2", "ops.restart_service", {"labels": USER}, LESS),
        ("v3", "ops.poke", {"arguments": {"service": "gateway"}, "labels": USER}, LESS),
    ],
)
async def test_what_is_not_in_the_plan_is_refused_by_a_rule_with_a_name(
    gatehouse: Make, call: Call, recorded: Recorded, step: str, tool: str, changes: Any, problem: str
) -> None:
    house, made = gatehouse(), replace(call(tool, placed=placed(step), labels=USER.join(SAID)), **changes)
    with pytest.raises(Denied, match=rf"^{tool} {problem} \(plan:frozen\) \(run r1, step 1\)$"):
        await house.call(made)
    with pytest.raises(Denied, match="plan:frozen"):
        house.judge(made)
    (event, payload), _ = recorded(Kind.DECISION)
    assert (event.decision, payload["by"], payload["policies"]) == ("deny", "plan", ["plan:frozen"])
    assert (payload["plan"], payload["problem"]) == (PLAN.digest, problem)


async def test_an_effect_of_the_plan_takes_the_way_of_any_other(
    gatehouse: Make, call: Call, recorded: Recorded
) -> None:
    house = gatehouse("strict")
    with pytest.raises(Suspended):
        house.judge(call("ops.restart_service", labels=USER.join(SAID), placed=placed("v2")))
    [(_, payload)] = recorded(Kind.DECISION)
    seen = ["tool:ops.read_logs", "user"]
    assert payload["origins"] == [{"argument": "service", "trusted": False, "sources": seen}]


async def test_an_approval_is_of_a_call_in_its_place_in_the_plan(gatehouse: Make, call: Call) -> None:
    """Not of the same call without a plan, in another step, or in a plan that differs in something else."""
    house = gatehouse("strict")
    steps = [STEPS[0], STEPS[1], STEPS[1] | {"name": "v5"}]
    plan = Plan.parse({"steps": steps, "constants": {}}, USER)
    made = call("ops.restart_service", labels=USER.join(SAID), placed=Placed(plan, "v2", BOUND))
    with pytest.raises(Suspended) as caught:
        house.judge(made)
    held = caught.value.call
    assert held.bound("p")["plan"] == {"digest": plan.digest, "step": "v2"}
    assert house.judge(replace(made, approvals=(Approval(caught.value.binding, "bob"),)))
    for place in (None, placed("v2"), Placed(plan, "v5", BOUND)):
        other = replace(held, placed=place).binding(house.policy.digest)
        with pytest.raises(Denied, match="the approval is for another call"):
            house.judge(replace(made, approvals=(Approval(other, "bob"),)))


def test_a_call_without_a_plan_binds_to_what_it_always_did(call: Call) -> None:
    """So that a yes which was given before there were plans stays one."""
    made = call("ops.restart_service")
    agent = made.principal.agent
    bound = {
        "tool": "ops.restart_service",
        "tool_version": made.record.version,
        "tool_digest": made.record.digest,
        "arguments": made.arguments,
        "policy": "p",
        "policies": [],
        "user": made.principal.user.json(),
        "agent": [agent.name, agent.version],
        "workflow": made.workflow,
        "workflow_version": made.workflow_version,
        "labels": made.labels.json(),
        "reviewed": made.reviewed,
        "key": made.key,
    }
    assert made.binding("p") == digest(bound)


def test_a_reference_to_an_effect_stands_for_any_value_once_that_has_happened() -> None:
    labels, reference = USER.join(SAID), {"$ref": ["7", "id"]}
    for body in (reference, "T-1"):
        assert placed("v4").problem("ops.send_mail", {"to": "x", "body": body}, labels) == ""
    assert placed("v4").problem("ops.send_mail", {"to": "y", "body": "T-1"}, labels)
    assert placed("v4").arguments()["body"].value == reference


def test_labels_are_those_of_the_plan_of_what_a_call_uses_and_of_the_list_that_it_goes_through() -> None:
    item = Value("x", USER.join(SAID))
    assert placed("v1").labels() == USER
    assert placed("v2").labels() == placed("v3", **{ITEM: item}).labels() == USER.join(SAID)


@pytest.mark.parametrize(
    ("listed", "labels", "asks"),
    [(["x"], SAID, False), (["x", "x"], SAID, True), (["x", "y"], USER, False), ("orders", SAID, True)],
)
async def test_the_users_words_vouch_for_one_call_and_not_for_as_many_as_a_list_has(
    gatehouse: Make, call: Call, recorded: Recorded, listed: Json, labels: Labels, asks: bool
) -> None:
    """`orders` is what the user typed; how often it is restarted is what an untrusted list would say."""
    step = {"name": "v2", "each": {"variable": "v1"}, "call": "ops.restart_service"}
    plan = Plan.parse({"steps": [step | {"arguments": {"service": {"value": "orders"}}}], "constants": {}}, USER)
    place = Placed(plan, "v2", {"v1": Value(listed, USER.join(labels))})
    grounds = Grounds(("Restart orders.",))
    made = call("ops.restart_service", {"service": "orders"}, labels=place.labels(), placed=place, grounds=grounds)
    house = gatehouse("strict")
    if asks:
        with pytest.raises(Suspended):
            house.judge(made)
    else:
        house.judge(made)
    [(_, payload)] = recorded(Kind.DECISION)
    sources = ["tool:ops.read_logs", "user"] if asks else ["user"]
    assert payload["origins"] == [{"argument": "service", "trusted": not asks, "sources": sources}]


async def test_rules_are_bound_by_no_plan_and_policy_can_demand_one(
    gatehouse: Make, call: Call, policies: Callable[[str], Any]
) -> None:
    folder = policies(
        '@id("all") permit (principal, action, resource);\n'
        '@id("only-planned") forbid (principal, action in Action::"writes", resource)\n'
        'when { context.integrity != "trusted" && !context.planned };\n'
    )
    house, labels = gatehouse(folder), USER.join(SAID)
    arguments = {"service": "orders"}
    assert house.judge(call("ops.restart_service", arguments, labels=labels, placed=placed("v2")))
    assert house.judge(call("ops.restart_service", arguments, labels=USER))
    with pytest.raises(Denied, match="only-planned"):
        house.judge(call("ops.restart_service", arguments, labels=labels))


@pytest.mark.parametrize(
    "given",
    [
        None,
        {"steps": []},
        {"steps": [], "constants": {}, "more": 1},
        {"steps": ["v1"], "constants": {}},
        {"steps": [{"name": "v1", "call": "t.a", "arguments": {"x": "plain"}}], "constants": {}},
        {"steps": [{"name": "v1", "call": "t.a", "arguments": {"x": {"value": 1, "field": "y"}}}], "constants": {}},
        {"steps": [{"name": "v1", "call": "t.a", "arguments": {}, "unless": {}}], "constants": {}},
        {"steps": [{"name": "v1", "call": "t.a", "read": "F", "arguments": {}}], "constants": {}},
        {"steps": [{"name": "v1", "read": "F", "of": {"constant": 3}}], "constants": {}},
    ],
)
def test_what_is_no_plan_is_not_read_as_one(given: Json) -> None:
    with pytest.raises(ValueError, match=r"^(no plan|no step|neither a call|an argument that comes from nowhere)"):
        Plan.parse(given, USER)


def test_a_plan_is_known_by_the_digest_of_all_of_it() -> None:
    whole = {"steps": STEPS, "constants": {"spare": "gateway"}}
    assert PLAN.digest == digest(whole)
    assert Plan.parse({**whole, "constants": {"spare": "orders"}}, USER).digest != PLAN.digest

"""What calls can come to under a policy: as the engine decides each, and never less than that."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.gate.policy_files import policy_files
from runtime.gate.provenance.origin import Origin
from runtime.gate.reach import Case, Outcome, Reach, Site
from runtime.gate.terms import Terms
from store.records.errors import SettingsError
from store.records.identity import Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels
from tools.record import ToolRecord

Write = Callable[..., Path]
ANN = User("ann", 61001, "acme", "ops", ("requester",))
INVENTORY = Inventory({"Service": ("gateway", "orders"), "Queue": ("mail",)})
WORKER, RULE = Agent("worker", "1"), Agent("rule", "1")
MOVE = ToolRecord(
    name="x.move",
    target="service",
    egress=False,
    irreversible=False,
    input_schema={
        "type": "object",
        "properties": {"service": {"type": "string"}, "count": {"type": "integer"}, "to": {"type": "string"}},
    },
)
LOOK = ToolRecord(name="x.look", effect="read", egress=False)  # type: ignore[arg-type]
ALL = '@id("all") permit (principal, action, resource);\n'
ANOTHER = Outcome("suspend", ("approval:a",), Terms(1, False))


def reach(source: Any, record: ToolRecord = MOVE) -> Reach:
    return Reach(policy_files(source), [MOVE, LOOK], Site(ANN, "flow", 3, INVENTORY))


@pytest.fixture
def cases(policies: Write) -> Callable[..., list[Case]]:
    """The cases of a tool under a policy's text."""
    return lambda text, record=MOVE: reach(policies(text)).of(record, [RULE, WORKER])


def test_what_makes_no_difference_is_not_told_of(cases: Any) -> None:
    assert cases(ALL) == [Case({}, (Outcome("allow"),))]
    assert cases('@id("f") forbid (principal, action, resource);') == [Case({}, (Outcome("deny", ("f",)),))]
    nothing = '@id("no") permit (principal, action == Action::"x.look", resource);'
    assert cases(nothing) == [Case({}, (Outcome("deny"),))]


def test_what_makes_one_is(cases: Any) -> None:
    text = (
        ALL
        + '@id("f") forbid (principal == Agent::"worker", action, resource is Queue);'
        + '@id("g") forbid (principal, action, resource == Service::"orders") unless { context.reviewed };'
        + '@id("approval:a") forbid (principal, action, resource) when { context.classification >= 3 };'
    )
    found = cases(text)
    secret = {"classification": ("restricted",)}
    assert Case({"agent": ("worker",), "object": ("a Queue",)}, (Outcome("deny", ("f",)),)) in found
    assert (
        Case({"agent": ("rule",), "object": ("Service orders",), "reviewed": ("no",)}, (Outcome("deny", ("g",)),))
        in found
    )
    assert any(case.when.items() >= secret.items() and case.outcomes == (ANOTHER,) for case in found)
    assert all("integrity" not in case.when and "vouched" not in case.when for case in found)


def test_who_must_agree_is_told(cases: Any) -> None:
    text = ALL + '@id("approval:a") @approvers("3") @distinct("requester") forbid (principal, action, resource);'
    assert cases(text) == [Case({}, (Outcome("suspend", ("approval:a",), Terms(3, True)),))]


@pytest.mark.parametrize(
    "condition",
    [
        "context.args has count && context.args.count > 10",
        'context.reviewed && context.sources.contains("tool:x.look")',
        'context.untrusted_arguments.contains("to")',
        'context.opaque == ["to"]',
        'context.reviewed || (context.args has to && context.args.to like "a*")',
    ],
)
def test_a_rule_that_looks_at_arguments_is_taken_both_ways(cases: Any, condition: str) -> None:
    held = cases(ALL + f'@id("approval:a") forbid (principal, action, resource) when {{ {condition} }};')
    assert {each for case in held for each in case.outcomes} == {Outcome("allow"), ANOTHER}
    permitted = cases(f'@id("p") permit (principal, action, resource) when {{ {condition} }};')
    assert {each.ruling for case in permitted for each in case.outcomes} == {"allow", "deny"}
    unless = cases(ALL + f'@id("f") forbid (principal, action, resource) unless {{ {condition} }};')
    assert {each.ruling for case in unless for each in case.outcomes} == {"allow", "deny"}


def test_what_an_open_rule_asks_besides_still_counts(cases: Any) -> None:
    text = '@id("p") permit (principal, action, resource) when { context.reviewed && context.args has count };'
    assert cases(text) == [
        Case({"reviewed": ("yes",)}, (Outcome("allow"), Outcome("deny"))),
        Case({"reviewed": ("no",)}, (Outcome("deny"),)),
    ]


POLICIES = (
    ALL,
    "strict",
    "lab",
    ALL
    + '@id("f") forbid (principal, action, resource) when { context.args has count && context.args.count > 3 };'
    + '@id("approval:b") @approvers("2") forbid (principal, action, resource is Queue)'
    + ' when { context.integrity == "untrusted" && context.args has to && context.args.to != "a" };',
    '@id("p") permit (principal, action, resource is Service) when { context.reviewed }'
    ' unless { context.args has to && context.args.to like "*b*" };'
    '@id("q") permit (principal, action, resource) when { context.sources.contains("user") && context.vouched };'
    '@id("approval:c") forbid (principal, action, resource == Service::"orders")'
    ' when { context.classification > 1 || context.untrusted_arguments.contains("to") };',
)


@pytest.mark.parametrize("text", POLICIES)
def test_nothing_that_can_happen_is_missing(policies: Write, text: str) -> None:
    source: Any = text if len(text) < 9 else policies(text)
    policy = Policy.load(source, [MOVE, LOOK], INVENTORY)
    cases = reach(source).of(MOVE, [RULE, WORKER])
    names = {"orders": "orders", "gateway": "a Service", "mail": "a Queue", "nowhere": "nothing in the inventory"}
    more: tuple[dict[str, Any], ...] = ({}, {"count": 9}, {"to": "a"}, {"to": "abc", "count": 1})
    seen = set()
    kinds = product(
        (RULE, WORKER), names, (True, False), Integrity, Classification, (True, False), more, ((), ("user",))
    )
    for agent, name, reviewed, integrity, secrecy, vouched, given, sources in kinds:
        call = _call(agent, {"service": name, **given}, Labels("acme", secrecy, integrity, sources), reviewed, vouched)
        decided = Outcome.of(policy.decide(call))
        kind = {
            "agent": agent.name,
            "reviewed": "yes" if reviewed else "no",
            "integrity": integrity.name.lower(),
            "classification": secrecy.name.lower(),
            "vouched": "yes" if vouched else "no",
        }
        [case] = [case for case in cases if _fits(case, kind, name)]
        told = {each.ruling for each in case.outcomes}
        assert decided.ruling in told
        if decided.ruling == "suspend":
            assert any(set(decided.policies) <= set(each.policies) for each in case.outcomes)
        if len(case.outcomes) == 1:
            assert case.outcomes == (decided,)
        seen.add(decided.ruling)
    assert seen <= {each.ruling for case in cases for each in case.outcomes}


def _call(agent: Agent, arguments: dict[str, Any], labels: Labels, reviewed: bool, vouched: bool) -> Any:
    from runtime.gate.call import ToolCall

    return ToolCall(
        run="r",
        step="1",
        record=MOVE,
        arguments=arguments,
        principal=Principal(ANN, agent),
        labels=labels,
        workflow="flow",
        workflow_version=3,
        reviewed=reviewed,
        origins=(Origin("to", vouched, ()),),
    )


def _fits(case: Case, kind: dict[str, str], name: str) -> bool:
    objects = {
        "orders": {"Service orders", "a Service"},
        "gateway": {"another Service", "a Service"},
        "mail": {"a Queue"},
        "nowhere": {"nothing in the inventory"},
    }[name]
    if not objects & set(case.when.get("object", objects)):
        return False
    return all(kind[each] in values for each, values in case.when.items() if each != "object")


def test_a_local_read_is_neither_reviewed_nor_vouched_for() -> None:
    assert reach("strict").of(LOOK, [RULE, WORKER]) == [Case({}, (Outcome("allow"),))]


def test_a_set_that_cannot_be_loaded_is_refused(policies: Write) -> None:
    with pytest.raises(SettingsError, match="no tool is called that"):
        reach(policies(ALL + '@id("f") forbid (principal, action == Action::"x.mvoe", resource);'))


def test_the_digest_is_that_of_the_policy_in_force() -> None:
    assert reach("strict").policy.digest == Policy.load("strict", [MOVE, LOOK], INVENTORY).digest

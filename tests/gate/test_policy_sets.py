"""Policies as code: sheets of calls, the tests of a set, explanations, and what a change would do."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from runtime.gate.call import ToolCall
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.gate.policy_diff import Difference, difference, merged
from runtime.gate.policy_domain import Domain
from runtime.gate.policy_explanation import explain
from runtime.gate.policy_files import SETS, PolicyFile, policy_files, sheet_files
from runtime.gate.policy_sheet import Sheet
from runtime.gate.policy_trials import check_trials, trials
from runtime.gate.provenance.origin import Origin
from store.records.errors import SettingsError
from store.records.identity import Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels

Call = Callable[..., ToolCall]
ALL = '@id("all") permit (principal, action, resource);\n'
TOOL = '[tools."a.act"]\narguments = { to = "string", amount = "integer" }\n'
TEST = TOOL + '[[test]]\nname = "it"\ntool = "a.act"\narguments = { to = "x" }\n'


def text(*policies: str) -> list[PolicyFile]:
    return [PolicyFile("site.cedar", "\n".join(policies))]


def sheet(written: str, name: str = "site.test.toml") -> PolicyFile:
    return PolicyFile(name, written)


def problems(policies: list[PolicyFile], written: str) -> list[str]:
    return [trial.problem for trial in trials(policies, [sheet(written)])]


@pytest.mark.parametrize("name", SETS)
def test_the_tests_of_the_shipped_sets_pass(name: str) -> None:
    found = list(trials(policy_files(name), sheet_files(name)))
    assert len(found) >= 12
    check_trials(found)


@pytest.mark.parametrize("name", SETS)
def test_no_policy_of_a_shipped_set_can_be_left_out_unnoticed(name: str) -> None:
    """The tests of a set are worth something: each of its policies is needed by one of them."""
    files, sheets = policy_files(name), sheet_files(name)
    rules = Policy.load(name, ()).rules
    for left_out in rules:
        rest = text(*(rule.text for rule in rules if rule is not left_out))
        assert any(trial.problem for trial in trials(rest, sheets)), left_out.name
    assert not any(trial.problem for trial in trials(files, sheets))


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('decide = "allow"\nby = ["all"]', ""),
        ('decide = "allow"\nby = ["other"]', "no policy is called other"),
        ('decide = "deny"\nby = []', "must be deny by no policy, is allow by all"),
        ('decide = "allow"\nby = []', "must be allow by no policy, is allow by all"),
        ('decide = "allow"', "does not say what must be decided"),
        ('by = ["all"]', "does not say what must be decided"),
        ('decide = "allow"\nby = ["all"]\nuntrusted = ["nobody"]', "'nobody' is no consequential argument"),
        ('decide = "allow"\nby = ["all"]\nworkflow = "\\u0000"', ""),
        ('decide = "allow"\nby = ["all"]\napprovers = 2', "must ask for 2 people, asks for 1"),
    ],
)
def test_a_test_says_how_it_fails(written: str, problem: str) -> None:
    (found,) = problems(text(ALL), TEST + written)
    assert problem in found
    assert bool(found) == bool(problem)


def test_a_test_that_cannot_be_judged_fails() -> None:
    wrong = TEST.replace('to = "x"', "amount = 1.5") + 'decide = "deny"\nby = []'
    assert "cannot be judged" in problems(text(ALL), wrong)[0]
    assert (
        "no tool is called b.act"
        in problems(text(ALL), TEST.replace('tool = "a', 'tool = "b') + 'decide = "deny"\nby = []')[0]
    )


def test_the_terms_of_a_wait_are_tested() -> None:
    held = text(ALL, '@id("approval:x") @approvers("2") @distinct("requester") forbid (principal, action, resource);')
    wait = TEST + 'decide = "suspend"\nby = ["approval:x"]\n'
    assert problems(held, wait + "approvers = 2\ndistinct = true") == [""]
    assert "asks for 2" in problems(held, wait + "approvers = 1")[0]
    assert "must be allowed" in problems(held, wait + "distinct = false")[0]


@pytest.mark.parametrize(
    ("written", "name", "what"),
    [
        ("[[test", "a.test.toml", "cannot be read"),
        ("{", "a.test.json", "cannot be read"),
        ("[]", "a.test.json", "it: "),
        ('[[test]]\ntool = "a.b"\nreviewd = true', "a.test.toml", "test.0.reviewd"),
        ('[[test]]\ntool = "a.b"\nreviewed = 1', "a.test.toml", "test.0.reviewed"),
        ('[[test]]\ntool = "a.b"\nroles = ["root"]', "a.test.toml", "test.0.roles.0"),
        ('[[test]]\ntool = "a.b"\nwhen = 2026-01-01', "a.test.toml", "cannot be read"),
        ('[tools."A"]', "a.test.toml", "name: "),
        ('[tools."a.b"]\neffect = "reed"', "a.test.toml", "effect"),
        ('[inventory]\nService = ["x"]\nQueue = ["x"]', "a.test.toml", "two kinds"),
    ],
)
def test_a_sheet_that_cannot_be_used_is_told_in_one_line(written: str, name: str, what: str) -> None:
    with pytest.raises(SettingsError, match=what) as caught:
        Sheet.parse(sheet(written, name))
    assert "\n" not in str(caught.value)


def test_an_empty_sheet_is_a_test_that_failed() -> None:
    assert "no [[test]]" in problems(text(ALL), TOOL)[0]
    with pytest.raises(SettingsError, match=r"'the sheet': there is no .* \(and 1 more\)"):
        check_trials([*trials(text(ALL), [sheet(TOOL)]), *trials(text(ALL), [sheet(TOOL)])])


def test_sheets_stand_beside_their_policies(policies: Callable[..., Path]) -> None:
    folder = policies(ALL)
    for name in ("site.test.toml", "other.test.json", "notes.toml"):
        (folder / name).write_text("{}" if name.endswith("json") else "")
    assert [Path(each.path).name for each in sheet_files(folder)] == ["other.test.json", "site.test.toml"]
    assert [Path(each.path).name for each in sheet_files(folder / "site.cedar")] == ["site.test.toml"]
    (folder / "site.test.toml").chmod(0o666)
    with pytest.raises(SettingsError, match="others can write it"):
        sheet_files(folder)


# Explanations.


def test_an_explanation_says_what_user_and_agent_were_told(records: Any, call: Call) -> None:
    policy = Policy.load("strict", records.values())
    found = explain(policy, call("ops.page_on_call", {"message": "x"}))
    assert found.decision == policy.decide(call("ops.page_on_call", {"message": "x"}))
    assert [(part.principal, part.decision.effect) for part in found.parts] == [
        ("User alice", "suspend"),
        ("Agent worker", "suspend"),
    ]
    assert [rule.name for rule in found.rules] == ["approval:irreversible"]
    assert found.seen["context"]["irreversible"] is True
    assert "cannot be undone" in found.json()["texts"]["approval:irreversible"]["reason"]


def test_an_explanation_names_policies_in_one_order(policies: Callable[..., Path], records: Any, call: Call) -> None:
    names = [f"approval:{letter}" for letter in "abcdefghij"]
    holds = "".join(f'@id("{name}") forbid (principal, action, resource);\n' for name in names)
    found = explain(Policy.load(policies(ALL + holds), records.values()), call("ops.page_on_call", {"message": "x"}))
    assert [part.decision.policies for part in found.parts] == [tuple(names), tuple(names)]


def test_an_explanation_names_the_permits_that_did_not_hold(records: Any, call: Call) -> None:
    found = explain(Policy.load("lab", records.values()), call("ops.restart_service", reviewed=False))
    assert found.decision.effect == "deny"
    assert [part.silent for part in found.parts] == [("lab:user-repairs",), ("lab:agent-repairs",)]


def test_what_cannot_be_judged_is_explained_as_that(records: Any, call: Call) -> None:
    found = explain(Policy.load("strict", records.values()), call("ops.read_logs", {"service": 1}))
    assert (found.decision.effect, found.parts, found.seen) == ("deny", (), None)
    assert found.decision.errors


# What a change would do.


def changes(found: Difference) -> list[tuple[str, str]]:
    return [(each.before, each.after) for each in found.changes]


@pytest.mark.parametrize("name", SETS)
def test_a_set_does_not_differ_from_itself(name: str, records: Any) -> None:
    found = difference(
        policy_files(name), policy_files(name), list(records.values())[:3], Inventory.services(["orders"])
    )
    assert (found.changes, found.kinds > 0) == ((), True)


def test_the_one_kind_that_changes_is_named() -> None:
    new = '@id("approval:mail") forbid (principal, action, resource) when { context.egress && !context.reviewed };'
    found = difference(text(ALL), text(ALL, new))
    assert changes(found) == [("allow", "suspend for a person")]
    (change,) = found.changes
    assert (change.by_before, change.by_after) == (("all",), ("approval:mail",))
    assert change.where == ({"leaves": ("yes",), "reviewed": ("no",)},)


@pytest.mark.parametrize(
    ("condition", "where"),
    [
        ('context.workflow == "pay"', {"workflow": ("pay",)}),
        ("context.classification > 1", {"classification": ("confidential", "restricted")}),
        ('principal in Role::"auditor"', {"roles": ("auditor",)}),
        ('principal in Unit::"ops"', {"unit": ("ops",)}),
        ('context.user == User::"eve"', {"user": ("eve",)}),
        ("context.workflow_version >= 3", {"workflow version": ("3", "4")}),
        ('context.sources.contains("tool:a.b")', {"sources": ("tool:a.b",)}),
        ('context.scopes.contains("pay")', {"scopes": ("pay",)}),
        ('principal is Agent && principal.version == "2"', {"agent version": ("2",)}),
        ("!context.vouched", None),
        ("resource is Service", {"acts on": ("any Service",)}),
        ('resource == Service::"orders"', {"acts on": ("Service orders",)}),
        ('context.integrity == "untrusted"', {"integrity": ("untrusted",)}),
        ('context == context && context.integrity == "untrusted"', {"integrity": ("untrusted",)}),
    ],
)
def test_every_thing_that_policies_can_look_at_is_enumerated(condition: str, where: Any) -> None:
    new = f'@id("no") forbid (principal, action, resource) when {{ {condition} }};'
    found = difference(text(ALL), text(ALL, new))
    assert changes(found) == [("allow", "deny")]
    if where is not None:
        assert found.changes[0].where == (where,)


def test_arguments_are_enumerated_by_what_they_are_compared_with(records: Any) -> None:
    new = (
        '@id("no") forbid (principal, action == Action::"ops.restart_service", resource) when '
        '{ context.args has ticket && context.args.ticket like "INC-*" };'
    )
    found = difference(text(ALL), text(ALL, new), list(records.values()))
    assert found.changes[0].where == ({"tool": ("ops.restart_service",), "arguments": ("ticket 'INC-x'",)},)


def test_a_change_of_who_must_agree_is_a_change() -> None:
    old = '@id("approval:x") forbid (principal, action, resource);'
    new = '@id("approval:x") @approvers("2") @distinct("requester") forbid (principal, action, resource);'
    found = difference(text(ALL, old), text(ALL, new))
    assert changes(found) == [("suspend for a person", "suspend for 2 people, not who asked")]
    assert found.changes[0].where == ({},)


def test_a_set_that_does_not_load_has_no_difference() -> None:
    with pytest.raises(SettingsError, match="does not parse"):
        difference(text(ALL), text("permit ("))
    many = " || ".join(f'context.workflow == "w{n}"' for n in range(60))
    units = " || ".join(f'principal in Unit::"u{n}"' for n in range(60))
    wide = f'@id("w") permit (principal in Role::"a", action, resource) when {{ ({many}) && ({units}) }};'
    with pytest.raises(SettingsError, match="kinds of calls apart"):
        difference(text(ALL), text(wide, '@id("v") permit (principal, action, resource) when { context == context };'))


def test_joined_boxes_hold_what_was_in_them() -> None:
    every = list(product("ab", "cd", "ef"))
    some = [each for number, each in enumerate(every) if number not in (1, 6)]
    boxes = merged([tuple(frozenset({value}) for value in each) for each in some])
    held = [each for box in boxes for each in product(*box)]
    assert sorted(held) == sorted(some)
    assert len(boxes) < len(some)


@pytest.mark.parametrize("name", SETS)
def test_no_call_falls_between_the_kinds(name: str, records: Any, call: Call) -> None:
    """Whatever a call is like, there is a kind in which it is decided as it is: by the same policies."""
    policy = Policy.load(name, records.values(), Inventory.services(["orders"]))
    domain = Domain.of(policy.rules, policy.records, policy.inventory)
    for record in policy.records[:8]:
        decided = {(d.effect, d.policies) for _, each in domain.kinds(record) for d in [policy.decide(each)]}
        for changed in _calls(call(record.name, {record.target: "orders"} if record.target else {})):
            decision = policy.decide(changed)
            assert (decision.effect, decision.policies) in decided


def _calls(call: ToolCall) -> Iterator[ToolCall]:
    """Calls of every sort, of which an enumeration may know nothing."""
    roles: list[tuple[str, ...]] = [(), ("requester",), ("approver", "admin"), ("requester", "auditor")]
    for each, agent, reviewed, integrity, secrecy in product(
        roles, ("worker", "rule", "reviewer", "core", "zed"), (True, False), Integrity, (0, 3)
    ):
        labels = Labels("local", Classification(secrecy), integrity, ("tool:x",))
        principal = Principal(User("eve", 7, "local", "ops", each), Agent(agent, "9"))
        for origins in ((), (Origin("service", True, ()),), (Origin("a", True, ()), Origin("b", False, ()))):
            vouched = () if call.record.local_read else origins
            yield replace(
                call, principal=principal, reviewed=reviewed, labels=labels, origins=vouched, workflow="triage"
            )

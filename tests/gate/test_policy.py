"""Policies: what loads, what is refused and how clearly, and how decisions come about."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.gate.call import ToolCall
from runtime.gate.check import check
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy, examine
from runtime.gate.policy_files import SETS, PolicyFile
from runtime.gate.policy_mentions import Mentions
from runtime.gate.policy_schema import context
from runtime.gate.terms import Terms
from store.records.errors import SettingsError
from store.records.identity import Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels

Call = Callable[..., ToolCall]
Write = Callable[..., Path]
SITE = Inventory.services(["gateway", "orders"])
ALL = '@id("all") permit (principal, action, resource);\n'


HELD = '@id("approval:x") {} forbid (principal, action, resource);'


def refusal(source: Any, records: Any) -> str:
    """The one line that a load ends in."""
    with pytest.raises(SettingsError) as caught:
        Policy.load(source, records.values(), SITE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", SETS)
def test_shipped_sets_fit_any_tools(name: str, records: Any) -> None:
    assert not [finding for finding in check(name, records.values(), SITE) if finding.problem]
    assert not [finding for finding in check(name) if finding.problem]
    assert not [finding for finding in check(name, []) if finding.problem]


def test_a_check_names_every_policy_and_where_it_stands() -> None:
    findings = check("lab")
    assert [finding.name for finding in findings] == [
        "lab:user-reads",
        "lab:agent-reads",
        "lab:user-repairs",
        "lab:agent-repairs",
        "lab:user-notices",
        "lab:agent-notices",
        "approval:rollback",
        "lab:no-irreversible-egress",
    ]
    lines = Path(findings[0].where.rpartition(":")[0]).read_text().splitlines()
    for finding in findings:
        assert lines[int(finding.where.rpartition(":")[2]) - 1] == f'@id("{finding.name}")'


def test_a_check_tells_all_problems_at_once(policies: Write) -> None:
    folder = policies(ALL + 'permit (principal, action, resource);\n\n@id("b") permit (principl, action, resource);\n')
    findings = check(folder)
    assert [(Path(each.where).name, bool(each.problem)) for each in findings] == [
        ("site.cedar:2", True),
        ("site.cedar:4", True),
        ("site.cedar:1", False),
    ]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (ALL + '\n@id("b")\npermit (principl, action, resource);', 3, "does not parse: .*principl"),
        (ALL + '@id("b") permit (principal, action, resource)', 2, "does not parse"),
        (ALL + 'permit (principal, action, resource) when { context.workflow == "; //" };', 2, "has no name"),
        (ALL + "@id permit (principal, action, resource);", 2, "has no name"),
        (ALL + '@id("Not plain") permit (principal, action, resource);', 2, "not a plain name"),
        (ALL + "// a note\n" + ALL, 3, r"another policy is called all \(.*site.cedar:1\)"),
        ('@id("approval:x") permit (principal, action, resource);', 1, "is a permit"),
        ('@id("t") permit (principal == ?principal, action, resource);', 1, "template"),
        ('@id("f") forbid (principal, action == Action::"ops.sendmail", resource);', 1, "no tool is called that"),
        ('@id("f") permit (principal, action, resource is Sevrice);', 1, "does not fit the schema"),
        ('@id("f") permit (principal, action, resource) when { context.egres };', 1, "does not fit the schema"),
        ('@id("f") permit (principal, action, resource) when { context.args.service == "x" };', 1, "does not fit"),
        ("// nothing\n", 0, "there is no policy in it"),
        (HELD.format('@approver("2")'), 1, "an annotation @approver"),
        (HELD.format('@approvers("0")'), 1, "no number of people"),
        (HELD.format('@approvers("two")'), 1, "no number of people"),
        (HELD.format('@approvers("²")'), 1, "no number of people"),
        (HELD.format("@approvers"), 1, "no number of people"),
        (HELD.format('@distinct("reviewer")'), 1, "is nobody"),
        (HELD.format("@distinct"), 1, "is nobody"),
        (HELD.format('@reason("")'), 1, "is not one line"),
        (HELD.format('@reason("a\\nb")'), 1, "is not one line"),
        ('@id("f") @approvers("2") forbid (principal, action, resource);', 1, "asks for no approval"),
    ],
)
def test_a_policy_that_cannot_be_used_is_told_by_file_and_line(
    policies: Write, records: Any, text: str, line: int, what: str
) -> None:
    message = refusal(policies(text), records)
    assert f"site.cedar:{line}" in message if line else "site.cedar" in message
    with pytest.raises(SettingsError, match=what):
        Policy.load(policies(text), records.values(), SITE)


def test_a_name_is_taken_across_files(policies: Write, records: Any) -> None:
    policies(ALL, "a.cedar")
    assert "b.cedar:1" in refusal(policies(ALL, "b.cedar"), records)


def test_a_policy_hidden_behind_a_carriage_return_is_no_comment(policies: Write, records: Any) -> None:
    folder = policies("")
    (folder / "site.cedar").write_bytes(b'// a note\r@id("f") forbid (principal, action, resource);\n' + ALL.encode())
    assert Policy.load(folder, records.values(), SITE).policy_names == ("all", "f")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, policies: Write, records: Any) -> None:
    assert "no such policy set" in refusal("laab", records)
    assert "no such policy set" in refusal(tmp_path / "nowhere", records)
    assert "holds no *.cedar" in refusal(tmp_path, records)
    assert "no policy files" in refusal([], records)
    folder = policies("")
    (folder / "site.cedar").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refusal(folder, records)
    (folder / "site.cedar").write_text(ALL)
    (folder / "site.cedar").chmod(0o660)
    for source in (folder, folder / "site.cedar", [folder / "site.cedar"]):
        assert "others can write it" in refusal(source, records)
    (folder / "site.cedar").chmod(0o600)
    folder.chmod(0o1777)
    assert "others can write it" in refusal(folder, records)
    folder.chmod(0o770)
    assert "others could exchange it" in refusal(folder / "site.cedar", records)
    assert "cannot be read" in refusal([tmp_path / "gone.cedar"], records)


def test_an_inventory_must_be_clear() -> None:
    with pytest.raises(SettingsError, match="two kinds"):
        Inventory({"Service": ("a",), "Queue": ("a",)})
    for kind in ("queue", "User", "Unknown", "A B"):
        with pytest.raises(SettingsError, match="cannot be a kind"):
            Inventory({kind: ("a",)})


def test_policies_may_speak_of_the_sites_own_kinds(policies: Write, records: Any, call: Call) -> None:
    text = '@id("q") permit (principal, action, resource == Queue::"mail");'
    policy = Policy.load(policies(text), records.values(), Inventory({"Queue": ("mail",)}))
    assert policy.decide(call("ops.clear_quota", {"service": "mail"})).effect == "allow"
    assert policy.decide(call("ops.clear_quota", {"service": "male"})).effect == "deny"


def test_the_digest_is_of_policies_and_schema(policies: Write, records: Any) -> None:
    first = Policy.load(policies(ALL), records.values(), SITE).digest
    assert Policy.load(policies(ALL), records.values(), SITE).digest == first
    assert Policy.load(policies(ALL + "// a word"), records.values(), SITE).digest != first
    fewer = list(records.values())[:-1]
    assert Policy.load(policies(ALL), fewer, SITE).digest != first


def test_a_forbid_that_fails_denies(policies: Write, records: Any, call: Call) -> None:
    # Cedar alone would skip the forbid, and allow.
    failing = '@id("f") forbid (principal, action, resource) when { context.workflow_version * 2 > 0 };'
    policy = Policy.load(policies(ALL + failing), records.values(), SITE)
    assert policy.decide(call("ops.read_logs")).policies == ("f",)
    decision = policy.decide(call("ops.read_logs", workflow_version=2**62))
    assert decision.effect == "deny"
    assert "overflow" in decision.errors[0]


def test_an_approval_policy_that_fails_denies_too(policies: Write, records: Any, call: Call) -> None:
    failing = '@id("approval:f") forbid (principal, action, resource) when { context.workflow_version * 2 > 0 };'
    policy = Policy.load(policies(ALL + failing), records.values(), SITE)
    assert policy.decide(call("ops.read_logs")).effect == "suspend"
    assert policy.decide(call("ops.read_logs", workflow_version=2**62)).effect == "deny"


@pytest.mark.parametrize(
    "changes",
    [
        {"workflow_version": 2**63},
        {"workflow_version": 1.5},
        {"workflow_version": True},
        {"workflow": "\ud800"},
        {"arguments": {"service": "\ud800"}},
        {"arguments": {"service": {"__entity": {"type": "Service", "id": "orders"}}}},
        {"arguments": {"service": None}},
    ],
)
def test_what_cannot_be_judged_is_denied(policies: Write, records: Any, call: Call, changes: Any) -> None:
    policy = Policy.load(policies(ALL), records.values(), SITE)
    assert policy.decide(call("ops.read_logs")).effect == "allow", "and what cannot be judged is not taken for it"
    decision = policy.decide(call("ops.read_logs", **changes))
    assert (decision.effect, bool(decision.errors)) == ("deny", True)


def test_an_approval_policy_asks_only_where_it_would_be_allowed(policies: Write, records: Any, call: Call) -> None:
    approval = '@id("approval:a") forbid (principal, action, resource);\n'
    bare = Policy.load(policies(approval), records.values(), SITE)
    assert (bare.decide(call("ops.read_logs")).effect, bare.decide(call("ops.read_logs")).policies) == ("deny", ())
    forbidden = approval + ALL + '@id("f") forbid (principal, action, resource);'
    both = Policy.load(policies(forbidden), records.values(), SITE)
    assert both.decide(call("ops.read_logs")).effect == "deny"
    assert "f" in both.decide(call("ops.read_logs")).policies


def test_user_and_agent_are_both_asked(policies: Write, records: Any, call: Call) -> None:
    for one, other in (("User", "Agent"), ("Agent", "User")):
        text = f'@id("one") permit (principal is {one}, action, resource);\n'
        assert Policy.load(policies(text), records.values(), SITE).decide(call("ops.read_logs")).effect == "deny"
        held = text + ALL + f'@id("approval:o") forbid (principal is {other}, action, resource);'
        decision = Policy.load(policies(held), records.values(), SITE).decide(call("ops.read_logs"))
        assert (decision.effect, decision.policies) == ("suspend", ("approval:o",))


def test_roles_units_and_tenants_can_be_spoken_of(policies: Write, records: Any, call: Call) -> None:
    text = """@id("u") permit (principal in Role::"requester", action, resource)
        when { principal in Tenant::"local" && principal in Unit::"ops" && context.agent == Agent::"worker" };
        @id("a") permit (principal is Agent, action, resource) when { context.user.uid == 1000 };"""
    policy = Policy.load(policies(text), records.values(), SITE)
    assert policy.decide(call("ops.read_logs")).policies == ("a", "u")


def test_of_several_terms_the_strictest_counts(policies: Write, records: Any, call: Call) -> None:
    text = (
        ALL
        + '@id("approval:a") @approvers("3") @reason("Three of us.") forbid (principal, action, resource);'
        + '@id("approval:b") @distinct("requester") forbid (principal, action, resource);'
        + '@id("approval:c") @approvers("9") forbid (principal, action, resource) when { context.egress };'
    )
    policy = Policy.load(policies(text), records.values(), SITE)
    decision = policy.decide(call("ops.restart_service"))
    assert (decision.effect, decision.policies) == ("suspend", ("approval:a", "approval:b"))
    assert decision.terms == Terms(3, True)
    assert policy.why("approval:a") == "Three of us."
    assert "context.egress" in policy.why("approval:c"), "without a reason, the policy speaks for itself"


def test_under_strict_who_asks_cannot_approve(records: Any, call: Call) -> None:
    policy = Policy.load("strict", records.values(), SITE)
    for tool, arguments in (("ops.send_mail", {"to": "a", "body": "b"}), ("ops.page_on_call", {"message": "x"})):
        assert policy.decide(call(tool, arguments)).terms == Terms(1, True)


LOOKING = (
    ("read", 'context.workflow == "triage"'),
    ("args", 'context.args has service && context.args.service like "o*"'),
    ("named", 'resource == Service::"orders"'),
    ("among", 'resource in [Service::"gateway", Service::"orders"] && context.reviewed'),
    ("kind", "resource is Service && context.classification > 1"),
    ("sources", 'context.sources.contains("user") && context.integrity == "trusted"'),
    ("who", 'context.user.name == "alice" && context.agent == Agent::"worker"'),
    ("opaque", "context.opaque.isEmpty() && context has args"),
    ("version", "context.workflow_version * 2 > 2"),
)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_decision_that_was_kept_is_the_one_that_would_be_made(records: Any, call: Call, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(LOOKING), min_size=1, max_size=3, unique=True))
    tools = 'action in [Action::"ops.read_logs", Action::"ops.restart_service"]'
    named = [f'@id("{name}") permit (principal, {tools}, resource) when {{ {look} }};' for name, look in chosen]
    forbid = data.draw(st.sampled_from(["", *named])).replace("permit", "forbid").replace('@id("', '@id("approval:')
    files = [PolicyFile("site.cedar", "\n".join([*named, forbid]))]
    policy = Policy.of(files, records.values(), SITE)
    services = st.sampled_from(["gateway", "orders", "elsewhere", "", "o\ud800"])
    ticket = st.sampled_from([None, "T1", {"$ref": [1, "x"]}])
    for _ in range(12):
        given_ticket = data.draw(ticket)
        made = call(
            data.draw(st.sampled_from(["ops.read_logs", "ops.restart_service"])),
            {"service": data.draw(services), **({"ticket": given_ticket} if given_ticket else {})},
            principal=Principal(
                User(data.draw(st.sampled_from(["alice", "bob"])), 1, "local", "ops", ("requester",)),
                Agent(data.draw(st.sampled_from(["worker", "rule"])), "1"),
            ),
            labels=Labels(
                "local",
                data.draw(st.sampled_from(list(Classification))),
                data.draw(st.sampled_from(list(Integrity))),
                tuple(data.draw(st.lists(st.sampled_from(["user", "file"]), max_size=2))),
            ),
            workflow=data.draw(st.sampled_from(["triage", "other", "\ud800"])),
            workflow_version=data.draw(st.sampled_from([1, 2, 2**62, 2**63])),
            reviewed=data.draw(st.booleans()),
        )
        decided, anew = policy.decide(made), Policy.of(files, records.values(), SITE).decide(made)
        assert (decided.effect, decided.policies, decided.terms) == (anew.effect, anew.policies, anew.terms)
        assert bool(decided.errors) == bool(anew.errors)


def test_what_no_policy_looks_at_does_not_ask_the_engine_again(
    policies: Write, records: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """@id("r") permit (principal, action == Action::"ops.restart_service", resource is Service)
        when { context.args has service && context.args.service != "gateway" };"""
    policy = Policy.load(policies(text), records.values(), Inventory.services(["gateway", "orders", "mail"]))
    asked: list[Any] = []
    engine = cedarpy.is_authorized
    monkeypatch.setattr(cedarpy, "is_authorized", lambda *request: asked.append(request) or engine(*request))

    def anew(service: str, **changes: Any) -> bool:
        before = len(asked)
        policy.decide(call("ops.restart_service", {"service": service, **changes}))
        return len(asked) > before

    assert [anew("orders"), anew("orders"), anew("orders", ticket="T1")] == [True, False, False]
    assert [anew("mail"), anew("gateway"), anew("mail", ticket="T2"), anew("gateway")] == [True, True, False, False]


@pytest.mark.parametrize("use", ['context.args == {"service": "x"}', "context == context && context.args has x"])
def test_arguments_that_are_used_as_a_whole_all_count(records: Any, call: Call, use: str) -> None:
    policy = PolicyFile("site.cedar", f'@id("w") permit (principal, action, resource) when {{ {use} }};')
    rules, _ = examine([policy], records.values(), SITE)
    seen = [
        Mentions.of(rules).seen({"type": "Service", "id": "orders"}, context(call("ops.restart_service", arguments)))
        for arguments in ({"service": "orders", "ticket": "1"}, {"service": "orders", "ticket": "2"})
    ]
    assert seen[0] != seen[1]

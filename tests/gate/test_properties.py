"""What must hold for every policy, every call and every sequence of calls, searched for counterexamples."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.gate.budgets import Budgets
from runtime.gate.build import build
from runtime.gate.call import Approval, ToolCall
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.gate.typed_arguments import record_type, record_value
from store.ledger.ledger import Ledger
from store.records.errors import BailiwickError
from store.records.identity import Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels
from tools.functions import FunctionToolset
from tools.host import ToolHost
from tools.record import ToolRecord

Call = Callable[..., ToolCall]
LOCAL: dict[str, Any] = {"egress": False, "irreversible": False}
RECORDS = [
    ToolRecord(name="t.read", effect="read", **LOCAL),
    ToolRecord(name="t.write", **LOCAL),
    ToolRecord(name="t.send"),
]
_SCOPES = st.sampled_from(["principal is User, action", "principal is Agent, action", "principal, action"])
_GROUPS = st.sampled_from(["", ' in Action::"reads"', ' in Action::"writes"', ' == Action::"t.send"'])
_CONDITIONS = st.sampled_from(
    [
        "",
        "when { context.reviewed }",
        "unless { context.egress }",
        'when { context.integrity == "untrusted" }',
        "when { context.classification > 1 }",
        "when { context.workflow_version * 4 > 4 }",
    ]
)
_POLICY = st.tuples(_SCOPES, _GROUPS, _CONDITIONS)
_LABELS = st.builds(Labels, st.just("local"), st.sampled_from(Classification), st.sampled_from(Integrity))
_CALLS = st.builds(
    ToolCall,
    run=st.just("r"),
    step=st.just("1"),
    record=st.sampled_from(RECORDS),
    arguments=st.just({}),
    principal=st.just(Principal(User("u", 1, "local", "ops"), Agent("worker", "1"))),
    labels=_LABELS,
    workflow_version=st.sampled_from([1, 2, 2**62]),
    reviewed=st.booleans(),
)
_RANK = {"deny": 0, "suspend": 1, "allow": 2}


def text(policies: list[tuple[str, str, str]], effect: str, prefix: str) -> str:
    """Policies of one effect as Cedar, each with a name of its own."""
    return "".join(
        f'@id("{prefix}{number}") {effect} ({scope}{group}, resource) {condition};\n'
        for number, (scope, group, condition) in enumerate(policies)
    )


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Policy]:
    """A policy from its text."""
    path = tmp_path_factory.mktemp("policies") / "p.cedar"

    def make(content: str) -> Policy:
        path.write_text(content)
        return Policy.load([path], RECORDS, Inventory())

    return make


_SETS = st.lists(_POLICY, max_size=3)


@settings(max_examples=80, deadline=None)
@given(permits=st.lists(_POLICY, min_size=1, max_size=3), forbids=_SETS, approvals=_SETS, call=_CALLS)
def test_approval_policies_and_forbids_only_ever_close(
    load: Callable[[str], Policy], permits: Any, forbids: Any, approvals: Any, call: ToolCall
) -> None:
    bare = text(permits, "permit", "p:")
    closed = bare + text(forbids, "forbid", "f:")
    held = closed + text(approvals, "forbid", "approval:")
    ranks = [_RANK[load(content).decide(call).effect] for content in (bare, closed, held)]
    assert ranks == sorted(ranks, reverse=True)
    decision = load(held).decide(call)
    if decision.effect == "suspend":
        assert load(closed).decide(call).effect == "allow"
        assert decision.policies
        assert all(name.startswith("approval:") for name in decision.policies)
    if decision.errors:
        assert decision.effect == "deny"


@settings(max_examples=100, deadline=None)
@given(permits=st.lists(_POLICY, min_size=1, max_size=3), call=_CALLS, effect=st.sampled_from(["permit", "forbid"]))
def test_any_policy_that_fails_denies(load: Callable[[str], Policy], permits: Any, call: ToolCall, effect: str) -> None:
    failing = f'@id("e") {effect} (principal, action, resource) when {{ context.workflow_version * 4 > 0 }};'
    decision = load(text(permits, "permit", "p:") + failing).decide(replace(call, workflow_version=2**62))
    assert (decision.effect, decision.policies) == ("deny", ())
    assert decision.errors


_NAMES = st.sampled_from(["x", "y"])
_BINDING_PARTS = st.fixed_dictionaries(
    {
        "tool": st.sampled_from(RECORDS),
        "arguments": st.dictionaries(_NAMES, st.one_of(st.integers(0, 2), st.text(max_size=2), st.booleans())),
        "policy": st.sampled_from(["p1", "p2"]),
        "user": st.builds(User, _NAMES, st.integers(1, 2), _NAMES, _NAMES, st.sampled_from([(), ("requester",)])),
        "agent": st.builds(Agent, _NAMES, st.sampled_from(["1", "2"])),
        "key": _NAMES,
        "workflow": _NAMES,
        "workflow_version": st.integers(1, 2),
        "labels": st.builds(Labels, _NAMES, st.sampled_from(Classification), st.sampled_from(Integrity)),
        "reviewed": st.booleans(),
        "suspended_by": st.lists(st.sampled_from(["approval:a", "approval:b"]), max_size=2, unique=True).map(tuple),
    }
)


def _exactly(part: Any) -> str:
    """Tells 1 from True, which == does not, and not one order of keys from another."""
    return repr(sorted(part.items())) if isinstance(part, dict) else repr(part)


def binding(parts: dict[str, Any]) -> str:
    """The binding of a call with these parts."""
    call = ToolCall("r", "1", parts["tool"], parts["arguments"], Principal(parts["user"], parts["agent"]), Labels("x"))
    rest = parts.keys() - {"tool", "arguments", "user", "agent", "policy"}
    return replace(call, **{name: parts[name] for name in rest}).binding(parts["policy"])


@settings(max_examples=150)
@given(
    first=_BINDING_PARTS,
    second=_BINDING_PARTS,
    part=st.sampled_from(
        ["arguments", "labels", "policy", "reviewed", "suspended_by", "tool", "user", "workflow", "workflow_version"]
    ),
)
def test_a_binding_changes_with_any_of_its_parts(first: Any, second: Any, part: str) -> None:
    mixed = {**first, part: second[part]}
    same = _exactly(mixed[part]) == _exactly(first[part])
    assert (binding(mixed) == binding(first)) == same
    assert binding({**first, "key": first["key"] + "!"}) != binding(first)
    assert binding({**first, "agent": Agent(first["agent"].name, "3")}) != binding(first)


_TOOLS = st.sampled_from(["ops.rollback_config", "ops.restart_service", "ops.read_logs", "ops.send_mail"])
_APPROVALS = st.sampled_from(["none", "right", "of another", "by a stranger", "made up"])
_ATTEMPTS = st.lists(st.tuples(_TOOLS, _APPROVALS, st.booleans(), st.integers(1, 3)), min_size=1, max_size=6)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(attempts=_ATTEMPTS)
def test_no_sequence_of_calls_gets_an_unapproved_effect_out(
    tmp_path_factory: pytest.TempPathFactory, attempts: Any
) -> None:
    effects = asyncio.run(_attempt(tmp_path_factory.mktemp("run"), attempts))
    allowed = {("restart_service", f"r1/{step}") for tool, _, reviewed, step in attempts if reviewed}
    allowed |= {
        ("rollback_config", f"r1/{step}")
        for tool, approval, reviewed, step in attempts
        if tool == "ops.rollback_config" and approval == "right" and reviewed
    }
    assert set(effects) <= allowed
    assert len(effects) == len(set(effects))


async def _attempt(folder: Path, attempts: Any) -> list[tuple[str, str]]:
    """Make the calls one after the other, come what may; the effects that the world has seen."""
    effects: list[tuple[str, str]] = []
    tools = FunctionToolset("ops")
    for name, record in {"restart_service": LOCAL, "rollback_config": LOCAL, "send_mail": {}}.items():

        def act(service: str, key: str, name: str = name) -> str:
            effects.append((name, key))
            return "done"

        act.__name__ = name
        tools.tool(**record, target="service", key_argument="key")(act)

    @tools.tool(effect="read", **LOCAL)
    def read_logs(service: str) -> str:
        return "quiet"

    host = ToolHost()
    await host.open([], [tools])
    with Ledger.open(folder) as ledger:
        records = host.records().values()
        house = build(
            judge=Policy.load("lab", records, Inventory.services(["orders"])),
            budgets=Budgets(),
            records=records,
            host=host,
            recorder=ledger,
            epoch=ledger.epoch,
            knows=lambda name, _: name == "bob",
            patience_s=(),
        )
        for tool, kind, reviewed, step in attempts:
            call = ToolCall(
                run="r1",
                step=str(step),
                record=host.records()[tool],
                arguments={"service": "orders"},
                principal=Principal(User("alice", 1, "local", "ops"), Agent("worker", "1")),
                labels=Labels("local"),
                key=f"r1/{step}",
                reviewed=reviewed,
            )
            held = replace(call, suspended_by=("approval:rollback",))
            right = held.binding(house.policy.digest)
            other = replace(held, key="r1/other").binding(house.policy.digest)
            approval = {
                "none": None,
                "right": Approval(right, "bob"),
                "of another": Approval(other, "bob"),
                "by a stranger": Approval(right, "mallory"),
                "made up": Approval("", "bob"),
            }[kind]
            try:
                await house.call(replace(call, approvals=(approval,) if approval else ()))
            except BailiwickError:
                continue
    await host.close()
    return effects


_LEAVES = st.sampled_from([{"type": kind} for kind in ("string", "integer", "boolean", "number")])
_ODD = st.sampled_from(
    [{}, {"type": "object"}, {"type": "array"}, {"$ref": "#/x"}, {"type": ["string", "null"]}, {"enum": ["a"]},
     {"anyOf": [{"type": "null"}, {"type": "integer"}]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}]
)  # fmt: skip
_FIELDS = st.sampled_from(["a", "b", "__entity", "odd name"])


def _object(properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


_SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(_LEAVES, _ODD),
    lambda inner: st.one_of(
        inner.map(lambda items: {"type": "array", "items": items}),
        st.dictionaries(_FIELDS, inner, max_size=3).map(_object),
    ),
    max_leaves=6,
)
_OBJECTS = st.dictionaries(_FIELDS, _SCHEMAS, max_size=4).map(_object)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_FIELDS, inner)),
    max_leaves=6,
)


@settings(max_examples=250)
@given(schema=_OBJECTS, value=st.dictionaries(_FIELDS, _JSON))
def test_an_argument_is_seen_or_named_as_unseen_or_the_call_is_denied(schema: Any, value: Any) -> None:
    declared = record_type(schema)["attributes"]
    try:
        seen, opaque = record_value(schema, value)
    except ValueError:
        return
    assert set(seen) <= set(declared)
    for name, item in value.items():
        assert name in seen or name in opaque or item is None
    assert not any(name.startswith("__") for name in seen)


@pytest.mark.parametrize(
    ("declared", "value", "cedar"),
    [
        ({"type": "integer"}, 3.0, 3),
        ({"type": "number"}, 1, {"__extn": {"fn": "decimal", "arg": "1.0000"}}),
        ({"type": "number"}, 0.1, {"__extn": {"fn": "decimal", "arg": "0.1000"}}),
        ({"type": "array", "items": {"type": "string"}}, ["a"], ["a"]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "a", "a"),
    ],
)
def test_values_that_cedar_can_carry(declared: Any, value: Any, cedar: Any) -> None:
    assert record_value({"properties": {"x": declared}}, {"x": value}) == ({"x": cedar}, ())


@pytest.mark.parametrize(
    ("kind", "value"),
    [("integer", True), ("integer", 2**63), ("integer", 1.5), ("number", 0.00001), ("number", 1e300), ("number", "1"),
     ("string", 1), ("boolean", 0), ("number", float("inf")), ("string", None)],
)  # fmt: skip
def test_values_that_cedar_cannot_carry(kind: str, value: Any) -> None:
    with pytest.raises(ValueError, match="argument x"):
        record_value({"properties": {"x": {"type": kind}}}, {"x": value})

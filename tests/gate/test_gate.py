"""The whole gate over a real ledger and a real tool host: what passes, what does not, and what is on record."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runtime.gate.amount import NO_LIMIT, Amount
from runtime.gate.budgets import Budgets
from runtime.gate.build import Gatehouse
from runtime.gate.call import Approval, ToolCall
from runtime.gate.errors import Suspended
from runtime.gate.limits import Limits
from store.records.errors import BudgetExceeded, Denied, SettingsError
from store.records.identity import Agent, Principal, User
from store.records.kinds import Kind
from store.records.labels import Classification, Integrity, Labels
from tools.record import OutputLabel, ToolRecord

Make = Callable[..., Gatehouse]
Call = Callable[..., ToolCall]
Recorded = Callable[..., list[tuple[Any, Any]]]


async def test_a_local_read_passes_and_its_result_is_labelled(gatehouse: Make, call: Call, recorded: Recorded) -> None:
    result = await gatehouse().call(call("ops.read_logs"))
    assert result.value == {"lines": "orders"}
    assert result.labels == Labels(
        "local", Classification.INTERNAL, Integrity.UNTRUSTED, ("tool:ops.read_logs", "user")
    )
    ((event, payload),) = recorded(Kind.DECISION)
    assert (event.decision, event.tool, event.principal, event.actor) == ("allow", "ops.read_logs", "alice", "worker")
    assert payload["policies"] == ["lab:agent-reads", "lab:user-reads"]
    assert payload["arguments"] == {"service": "orders"}
    assert recorded(Kind.EFFECT_INTENT) == []


@pytest.mark.parametrize(
    ("classification", "learns"),
    [("public", True), ("internal", True), ("confidential", False), ("restricted", False), ("secret", False)],
)
async def test_what_a_trusted_tool_says_in_confidence_vouches_for_no_argument(
    gatehouse: Make, call: Call, records: Any, classification: str, learns: bool
) -> None:
    record = records["ops.failing_read"]
    label = OutputLabel(classification=classification, integrity="trusted")
    asked = call("ops.failing_read", {}, record=record.model_copy(update={"output_label": label}))
    known = gatehouse().labelled.learned(asked, {"balance": "the balance is 18250"})
    assert bool(known.source_of("the balance is 18250")) == learns


async def test_a_ruling_that_is_on_record_word_for_word_is_not_written_again(
    gatehouse: Make, call: Call, recorded: Recorded
) -> None:
    house = gatehouse()
    first = await house.call(call("ops.read_logs"))
    known = recorded(Kind.DECISION)
    again = await house.call(call("ops.read_logs", rulings=known))
    assert again.cause == first.cause == known[0][0].seq
    assert recorded(Kind.DECISION) == known
    labels = Labels("local", Classification.PUBLIC, Integrity.UNTRUSTED, ("user",))
    for other in ({"labels": labels}, {"arguments": {"service": "gateway"}}, {"step": "2"}, {"cause": 7}):
        await house.call(call("ops.read_logs", **{"rulings": known, **other}))
    assert len(recorded(Kind.DECISION)) == 5
    with pytest.raises(Denied):
        await gatehouse("strict").call(call("ops.send_mail", {"to": "x", "body": "y"}, rulings=known, reviewed=False))
    assert recorded(Kind.DECISION)[-1][0].decision == "deny"


async def test_label_names_nobody_knows_are_the_worst(gatehouse: Make, call: Call) -> None:
    labels = (await gatehouse().call(call("ops.odd_labels", {}))).labels
    assert labels.classification is Classification.RESTRICTED
    assert labels.integrity is Integrity.UNTRUSTED


async def test_a_tools_error_is_untrusted_even_of_a_trusted_tool(gatehouse: Make, call: Call) -> None:
    result = await gatehouse().call(call("ops.failing_read", {}))
    assert result.error
    assert result.labels.integrity is Integrity.UNTRUSTED


async def test_labels_of_another_tenant_are_denied_and_recorded(
    gatehouse: Make, call: Call, recorded: Recorded
) -> None:
    with pytest.raises(Denied, match="another tenant"):
        await gatehouse().call(call("ops.read_logs", labels=Labels("elsewhere")))
    ((event, payload),) = recorded(Kind.DECISION)
    assert (event.decision, event.tenant, payload["by"]) == ("deny", "local", "labels")


async def test_an_effect_leaves_decision_intent_outcome_in_that_order(
    gatehouse: Make, call: Call, world: Any, recorded: Recorded
) -> None:
    house = gatehouse()
    result = await house.call(call("ops.restart_service"))
    assert result.value == {"done": "restart_service"}
    assert world.effects == [("restart_service", "r1/1")]
    events = recorded(Kind.DECISION, Kind.EFFECT_INTENT, Kind.EFFECT_OUTCOME)
    assert [event.kind for event, _ in events] == ["decision", "effect.intent", "effect.outcome"]
    (decision, _), (intent, sent), (outcome, got) = events
    assert sent["key"] == "r1/1"
    assert sent["arguments"] == {"service": "orders"}
    assert (outcome.cause, intent.cause, decision.cause) == (intent.seq, decision.seq, 0)
    assert (outcome.decision, got["value"], got["error"]) == ("done", {"done": "restart_service"}, False)
    assert intent.policy_digest == house.policy.digest
    assert outcome.labels == result.labels


@pytest.mark.parametrize(
    ("tool", "arguments", "changes", "why"),
    [
        ("ops.restart_service", {"service": "orders"}, {"reviewed": False}, "is permitted by no policy"),
        ("ops.restart_service", {"service": "payroll"}, {}, "is permitted by no policy"),
        ("ops.restart_service", {"service": ["orders"]}, {}, "could not be judged"),
        ("ops.send_mail", {"to": "orders", "body": "config"}, {}, "forbidden by lab:no-irreversible-egress"),
        ("ops.web_search", {"query": "x"}, {}, "is permitted by no policy"),
        ("ops.restart_service", {"service": float("nan")}, {}, "not plain JSON"),
        ("ops.restart_service", {"service": "orders", "key": "mine"}, {}, "which only the runtime fills in"),
        ("ops.restart_service", {"service": "orders"}, {"key": ""}, "without an idempotency key"),
        ("ops.restart_service", {"service": "orders", "ticket": {"$ref": ["1", "id"]}}, {}, "references were filled"),
    ],
)
async def test_what_lab_does_not_let_through(
    gatehouse: Make, call: Call, world: Any, recorded: Recorded, tool: str, arguments: Any, changes: Any, why: str
) -> None:
    with pytest.raises(Denied, match=why) as caught:
        await gatehouse().call(call(tool, arguments, **changes))
    assert tool in str(caught.value)
    assert world.effects == []
    assert recorded(Kind.EFFECT_INTENT) == []
    assert recorded(Kind.DECISION)


async def test_a_page_acts_on_nothing_in_the_inventory_and_passes(gatehouse: Make, call: Call, world: Any) -> None:
    await gatehouse().call(call("ops.page_on_call", {"message": "look"}))
    assert world.effects == [("page_on_call", "r1/1")]


async def test_neither_user_nor_agent_lends_the_other_a_right(gatehouse: Make, call: Call) -> None:
    plain = call("ops.restart_service")
    no_requester = Principal(User("eve", 1001, "local", "ops", ("auditor",)), Agent("worker", "1"))
    no_worker = Principal(plain.principal.user, Agent("router", "1"))
    for principal in (no_requester, no_worker):
        with pytest.raises(Denied, match="permitted by no policy"):
            await gatehouse().call(replace(plain, principal=principal))


async def test_a_suspended_call_waits_then_passes_with_the_approval_of_this_very_call(
    gatehouse: Make, call: Call, world: Any, recorded: Recorded
) -> None:
    house = gatehouse()
    wanted = call("ops.rollback_config")
    with pytest.raises(Suspended) as caught:
        await house.call(wanted)
    assert caught.value.policies == ("approval:rollback",)
    held = replace(wanted, suspended_by=("approval:rollback",))
    assert caught.value.binding == held.binding(house.policy.digest)
    assert world.effects == []
    await house.call(replace(caught.value.call, approvals=(Approval(caught.value.binding, "bob"),)))
    assert world.effects == [("rollback_config", "r1/1")]
    ((intent, sent),) = recorded(Kind.EFFECT_INTENT)
    assert (sent["approvers"], sent["approved_by_policies"]) == (["bob"], ["approval:rollback"])
    decisions = recorded(Kind.DECISION)
    told = [(event.decision, payload["by"]) for event, payload in decisions]
    assert told == [("suspend", "policy"), ("suspend", "policy"), ("allow", "approval")]
    first, second, third = [event.seq for event, _ in decisions]
    assert [event.cause for event, _ in (*decisions, (intent, sent))] == [0, first, second, third]


@pytest.mark.parametrize(
    ("change", "approver"),
    [
        ({"arguments": {"service": "gateway"}}, "bob"),
        ({"key": "r1/other"}, "bob"),
        ({"workflow": "another"}, "bob"),
        ({"workflow_version": 2}, "bob"),
        ({"labels": Labels("local", Classification.INTERNAL, Integrity.UNTRUSTED, ("tool:ops.read_logs",))}, "bob"),
        ({"principal": Principal(User("carol", 1002, "local", "ops"), Agent("worker", "1"))}, "bob"),
        ({"principal": Principal(User("alice", 1000, "local", "ops"), Agent("rule", "1"))}, "bob"),
        ({}, "mallory"),
    ],
)
async def test_any_drift_voids_an_approval(
    gatehouse: Make, call: Call, world: Any, recorded: Recorded, change: Any, approver: str
) -> None:
    house = gatehouse()
    wanted = call("ops.rollback_config")
    held = replace(wanted, suspended_by=("approval:rollback",))
    approval = Approval(held.binding(house.policy.digest), approver)
    with pytest.raises(Denied):
        await house.call(replace(wanted, approvals=(approval,), **change))
    assert world.effects == []
    assert recorded(Kind.DECISION)[-1][0].decision == "deny"


async def test_an_approval_under_another_policy_is_void(gatehouse: Make, call: Call, policies: Any) -> None:
    text = '@id("all") permit (principal, action, resource);\n@id("approval:any") forbid (principal, action, resource);'
    house = gatehouse(policies(text))
    wanted = call("ops.rollback_config")
    held = replace(wanted, suspended_by=("approval:any",))
    approval = Approval(held.binding(gatehouse().policy.digest), "bob")
    with pytest.raises(Denied, match="another call"):
        await house.call(replace(wanted, approvals=(approval,)))


async def test_nobody_else_can_mark_a_call_as_suspended_or_as_not(gatehouse: Make, call: Call, world: Any) -> None:
    with pytest.raises(Suspended):
        await gatehouse().call(call("ops.rollback_config", suspended_by=()))
    await gatehouse().call(call("ops.restart_service", suspended_by=("approval:made-up",)))
    assert world.effects == [("restart_service", "r1/1")]


async def test_judge_says_the_same_without_doing_it(
    gatehouse: Make, call: Call, world: Any, recorded: Recorded
) -> None:
    house = gatehouse()
    house.judge(call("ops.restart_service", {"service": "orders", "ticket": {"$ref": ["1", "id"]}}))
    with pytest.raises(Suspended):
        house.judge(call("ops.rollback_config"))
    with pytest.raises(Denied):
        house.judge(call("ops.send_mail", {"to": "x", "body": "y"}))
    assert [event.decision for event, _ in recorded(Kind.DECISION)] == ["allow", "suspend", "deny"]
    assert world.attempts == 0
    assert house.budgets.account("local", "run", "r1", "run", "r1").used == [0, 0, 0, 0]


async def test_the_budget_stops_before_the_call(gatehouse: Make, call: Call, world: Any, recorded: Recorded) -> None:
    house = gatehouse(budgets=Budgets(Limits(run=Amount(calls=2, cost_micros=NO_LIMIT))))
    await house.call(call("ops.read_logs", step="1"))
    await house.call(call("ops.restart_service", step="2"))
    with pytest.raises(BudgetExceeded, match="budget of run r1 does not reach: limit 2 calls, used 2 calls"):
        await house.call(call("ops.restart_service", step="3"))
    assert world.effects == [("restart_service", "r1/2")]
    assert len(recorded(Kind.EFFECT_INTENT)) == 1


async def test_a_new_gate_knows_from_the_ledger_what_was_used(gatehouse: Make, call: Call, recorded: Recorded) -> None:
    limits = Limits(run=Amount(calls=2, cost_micros=NO_LIMIT))
    await gatehouse(budgets=Budgets(limits)).call(call("ops.read_logs", step="1"))
    recorded()
    house = gatehouse(budgets=Budgets(limits))
    await house.call(call("ops.read_logs", step="2"))
    with pytest.raises(BudgetExceeded):
        await house.call(call("ops.read_logs", step="3"))


async def test_strict_holds_every_write_after_untrusted_data_for_a_person(gatehouse: Make, call: Call) -> None:
    house = gatehouse("strict")
    await house.call(call("ops.restart_service", step="1"))
    tainted = Labels("local", Classification.INTERNAL, Integrity.UNTRUSTED, ("tool:ops.read_logs",))
    with pytest.raises(Suspended) as caught:
        await house.call(call("ops.restart_service", step="2", labels=tainted))
    assert caught.value.policies == ("approval:untrusted",)
    with pytest.raises(Suspended) as caught:
        await house.call(call("ops.send_mail", {"to": "a", "body": "b"}, step="3", labels=tainted))
    assert caught.value.policies == ("approval:egress", "approval:irreversible", "approval:untrusted")
    with pytest.raises(Suspended):
        await house.call(call("ops.web_search", {"query": "x"}, step="4"))
    with pytest.raises(Denied):
        await house.call(call("ops.restart_service", step="5", reviewed=False, labels=tainted))


async def test_a_tool_whose_definition_changed_is_denied(gatehouse: Make, call: Call) -> None:
    wanted = call("ops.read_logs")
    changed = wanted.record.model_copy(update={"description": "now with a twist"})
    with pytest.raises(Denied, match="could not be judged"):
        await gatehouse().call(replace(wanted, record=ToolRecord(**changed.model_dump())))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"reconcile": "ops.nowhere"}, "nobody offers the tool ops.nowhere"),
        ({"reconcile": "ops.send_mail"}, "is no local read"),
        ({"reconcile": "ops.effect_status", "key_argument": ""}, "takes no idempotency key"),
    ],
)
async def test_a_reconcile_that_could_act_or_cannot_answer_is_refused(
    gatehouse: Make, records: Any, change: Any, why: str
) -> None:
    bad = records["ops.restart_service"].model_copy(update=change)
    with pytest.raises(SettingsError, match=why):
        gatehouse(records={**records, bad.name: ToolRecord(**bad.model_dump())}.values())

"""The page for a change board: what a workflow declares, and the effects that the policy engine lets it reach."""

from pathlib import Path
from typing import Any

import pytest

from runtime.cli.dossier import print_dossier
from runtime.contract.decision import ByModel
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.workflows.catalog import load as workflows
from runtime.workflows.dossier import Surroundings, dossier
from store.records.identity import User
from tools.catalog import load
from tools.record import ToolRecord

TOOLS = Path(__file__).parents[2] / "tools/opslab/tools.toml"
ANN = User("ann", 61001, "acme", "ops", ("requester",))
INVENTORY = Inventory.services(["gateway", "orders"])
TEXT = {"type": "string"}


@pytest.fixture(scope="module")
def records() -> list[ToolRecord]:
    """The lab's tools, as its owners classified them."""
    made = []
    for name, each in load(TOOLS, {"state": "/"}).server["ops"].tools.items():
        said = {**each.model_dump(exclude={"output"}), "output_label": each.output.record()}
        schema = {"type": "object", "properties": {each.target: TEXT} if each.target else {}}
        made.append(ToolRecord(name=f"ops.{name}", input_schema=schema, **said))
    return made


def page(records: list[ToolRecord], workflow: Workflow, policy: str = "lab", user: User = ANN) -> Any:
    return dossier(workflow, Surroundings(policy, records, INVENTORY, user, []))


def reached(found: Any) -> dict[str, str]:
    return {tool["tool"]: tool["reach"] for tool in found["blast_radius"]}


def test_the_page_of_the_demos_workflow(records: list[ToolRecord]) -> None:
    found = page(records, workflows()["triage"])
    assert [(each["step"], each["tools"]) for each in found["by_model"]] == [
        ("work", ["ops.diff_config", "ops.read_logs"]),
        ("work", ["ops.restart_service", "ops.rollback_config", "ops.clear_quota", "ops.set_dependency"]),
    ]
    assert found["fallback"] == "by_runbook"
    assert found["scopes"] == ["ops:config", "ops:notify", "ops:read", "ops:repair"]
    assert reached(found) == {
        "ops.clear_quota": "alone",
        "ops.page_on_call": "alone",
        "ops.restart_service": "alone",
        "ops.rollback_config": "with a person",
        "ops.set_dependency": "alone",
    }
    assert all(tool["needs_review"] for tool in found["blast_radius"])
    [rollback] = [tool for tool in found["blast_radius"] if tool["tool"] == "ops.rollback_config"]
    held = {"ruling": "suspend", "by": ["approval:rollback"], "approvers": 1, "requester_may": True}
    assert rollback["cases"][0] == {"when": {"object": ["a Service"], "reviewed": ["yes"]}, "outcomes": [held]}
    assert {each["outcomes"][0]["ruling"] for each in rollback["cases"][1:]} == {"deny"}
    assert found["policy"]["digest"] == Policy.load("lab", records, INVENTORY).digest
    assert found["why"]["approval:rollback"].startswith("A rollback changes what the service does")
    assert found["missing"] == []


def test_what_a_workflow_may_not_name_is_not_in_its_radius_and_what_policy_denies_is_named(
    records: list[ToolRecord],
) -> None:
    assert "ops.wipe_data" not in reached(page(records, workflows()["triage"]))
    every = reached(page(records, workflows()["task"]))
    assert every["ops.wipe_data"] == every["ops.send_mail"] == "never"
    auditor = User("eve", 61002, "acme", "x", ("auditor",))
    assert set(reached(page(records, workflows()["triage"], user=auditor)).values()) == {"never"}


def test_under_strict_what_cannot_be_undone_takes_another_person(records: list[ToolRecord]) -> None:
    found = {tool["tool"]: tool for tool in page(records, workflows()["task"], "strict")["blast_radius"]}
    assert found["ops.wipe_data"]["reach"] == "with a person"
    outcomes = [each for case in found["ops.wipe_data"]["cases"] for each in case["outcomes"]]
    held = [each for each in outcomes if each["ruling"] == "suspend"]
    assert held
    assert all((each["approvers"], each["requester_may"]) == (1, False) for each in held)
    assert found["ops.restart_service"]["reach"] == "alone"


def test_who_chooses_a_call_is_a_model_only_where_that_is_declared(records: list[ToolRecord], tmp_path: Path) -> None:
    async def fine(run: Run) -> None:
        """Fine."""

    permit = '@id("p") permit (principal, action, resource);'
    forbid = '@id("f") forbid (principal == Agent::"worker", action, resource);'
    tmp_path.joinpath("site.cedar").write_text(permit + forbid)
    work = ByModel("work", "which repair", ("ops.restart_service",))
    for declared, agents in (
        ((), None),
        ((ByModel("ask", "what"),), None),
        ((work,), ["rule", "worker"]),
        ((ByModel("child", "all"),), ["rule", "worker"]),
        (None, ["rule", "worker"]),
    ):
        flow = Workflow("flow", 1, fine, None, ("ops.restart_service", "ops.clear_quota"), by_model=declared)
        found = {tool["tool"]: tool for tool in page(records, flow, str(tmp_path))["blast_radius"]}
        told = [value for case in found["ops.restart_service"]["cases"] for value in case["when"].get("agent", [])]
        assert (sorted(told) or None) == agents
        if declared == (work,):
            assert found["ops.clear_quota"]["cases"] == [{"when": {}, "outcomes": [{"ruling": "allow", "by": []}]}]


def test_what_nobody_offers_is_missing() -> None:
    found = page([], workflows()["triage"])
    assert (found["blast_radius"], found["reads"]) == ([], [])
    assert found["missing"] == sorted(workflows()["triage"].tools)


def test_a_person_reads_all_of_it(records: list[ToolRecord], capsys: pytest.CaptureFixture[str]) -> None:
    print_dossier(page(records, workflows()["triage"]))
    said = capsys.readouterr().out
    for line in (
        "triage, version 2",
        "  work  which repair of which service is staged (ops.restart_service, ops.rollback_config, ops.clear_quota, "
        "ops.set_dependency)",
        "  the whole fallback, by_runbook",
        "BLAST RADIUS under the policy set lab, for ann (requester)",
        "  ops.rollback_config: write, scopes ops:repair ops:config, needs a review, reaches: with a person",
        "    - acts on a Service, reviewed: waits for a person with the role approver (approval:rollback)",
        "    - acts on nothing in the inventory: denied (no policy permits it)",
        "  approval:rollback: A rollback changes what the service does, not only whether it runs.",
    ):
        assert line in said.splitlines()
    assert all(tool in said for tool in workflows()["triage"].tools)


def test_a_workflow_that_declares_nothing_says_so(
    records: list[ToolRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    async def fine(run: Run) -> None:
        """Fine."""

    print_dossier(page(records, Workflow("flow", 1, fine, None, ())))
    assert "  any step: the workflow does not say" in capsys.readouterr().out
    print_dossier(page(records, Workflow("flow", 1, fine, None, (), by_model=())))
    assert "DECIDED BY A MODEL\n  nothing\n" in capsys.readouterr().out

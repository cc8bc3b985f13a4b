"""The page of a workflow for a change board: what a model may decide in it, and all that it can do under a policy.

Put together from what is declared and what the policy engine says; it asks no model, calls no tool, and grants nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from models.model import Model
from runtime.agents.catalog import agents
from runtime.agents.proposal import VERSION as AGENTS_VERSION
from runtime.conductor.scope import CORE_VERSION
from runtime.contract.workflow import Workflow
from runtime.gate.inventory import Inventory
from runtime.gate.policy_files import policy_files
from runtime.gate.reach import Case, Outcome, Reach
from runtime.gate.reach import Site as Asked
from store.records.canonical import Json
from store.records.identity import Agent, User
from tools.record import ToolRecord

BY_RULE = Agent("rule", CORE_VERSION)
BY_MODEL = Agent("worker", AGENTS_VERSION)
_REACH = {"allow": "alone", "suspend": "with a person", "deny": "never"}
"""The most that calls of a tool can come to."""


@dataclass(frozen=True)
class Surroundings:
    """Where a workflow would run: the policy set by name or folder, all tools that there are, the trusted inventory,
    for whom, with which models; and the name of the only user there is, empty if there may be others."""

    policy: str
    records: Sequence[ToolRecord]
    inventory: Inventory
    user: User
    models: Sequence[Model]
    sole: str = ""


def declaration(workflow: Workflow) -> dict[str, Json]:
    """What a workflow says of itself."""
    return {
        "name": workflow.name,
        "version": workflow.version,
        "description": workflow.description,
        "input": workflow.input.__name__ if workflow.input else "",
        "fallback": workflow.fallback.__name__ if workflow.fallback else "",
        "tools": list(workflow.tools),
        "source_digest": workflow.source_digest,
        "declared": workflow.by_model is not None,
        "by_model": [{**asdict(each), "tools": list(each.tools)} for each in workflow.by_model or ()],
    }


def dossier(workflow: Workflow, around: Surroundings) -> dict[str, Json]:
    """The whole page, as JSON. Raises SettingsError if the policy set cannot be loaded for these tools.

    `blast_radius` has each tool but the local reads with the `cases` that policy tells apart, `reads` the local reads.
    `reach` says whether a tool can be called `alone`, only `with a person`, or `never`; `missing` are those that the
    workflow names and nobody offers.
    """
    usable = [record for record in around.records if not workflow.tools or record.name in workflow.tools]
    site = Asked(around.user, workflow.name, workflow.version, around.inventory)
    reach = Reach(policy_files(around.policy), around.records, site)
    tools = [_tool(record, reach.of(record, list(_choosers(workflow, record)))) for record in usable]
    named = {policy for tool in tools for case in tool["cases"] for each in case["outcomes"] for policy in each["by"]}
    return {
        **declaration(workflow),
        "models": [{"name": model.name, "kind": model.kind, "sha256": model.sha256} for model in around.models],
        "agents": [{"name": agent.name, "version": agent.version} for agent in agents()],
        "scopes": sorted({scope for record in usable for scope in record.scopes}),
        "missing": sorted(set(workflow.tools) - {record.name for record in usable}),
        "policy": {"set": around.policy, "digest": reach.policy.digest},
        "user": {"name": around.user.name, "roles": list(around.user.roles)},
        "sole": around.sole,
        "blast_radius": [tool for tool, record in zip(tools, usable, strict=True) if not record.local_read],
        "reads": [tool for tool, record in zip(tools, usable, strict=True) if record.local_read],
        "why": {name: reach.policy.why(name) for name in sorted(named)},
    }


def _choosers(workflow: Workflow, record: ToolRecord) -> Iterable[Agent]:
    """Who may choose a call: the workflow's own code, and a model that may, here or in a run that it begins."""
    yield BY_RULE
    if workflow.lets_model("work", [record.name]) or workflow.lets_model("child"):
        yield BY_MODEL


def _tool(record: ToolRecord, cases: Sequence[Case]) -> dict[str, Json]:
    """One tool: what it does to the world, and what becomes of calls of it."""
    rulings = {each.ruling for case in cases for each in case.outcomes}
    reviewed = not record.local_read and rulings != {"deny"} and all(map(_denied, filter(_unreviewed, cases)))
    return {
        "tool": record.name,
        "version": record.version,
        "digest": record.digest,
        "owner": record.owner,
        "effect": record.effect.value,
        "egress": record.egress,
        "irreversible": record.irreversible,
        "scopes": list(record.scopes),
        "compensate": record.compensate,
        "reach": _REACH[min(rulings, key=tuple(_REACH).index)],
        "needs_review": reviewed,
        "cases": [{"when": _when(case.when), "outcomes": [_outcome(each) for each in case.outcomes]} for case in cases],
    }


def _unreviewed(case: Case) -> bool:
    return "no" in case.when.get("reviewed", ("no",))


def _denied(case: Case) -> bool:
    return {each.ruling for each in case.outcomes} == {"deny"}


def _when(when: Mapping[str, Sequence[str]]) -> dict[str, Json]:
    return {name: list(values) for name, values in when.items()}


def _outcome(outcome: Outcome) -> dict[str, Json]:
    held = {"approvers": outcome.terms.approvers, "requester_may": not outcome.terms.distinct}
    return {"ruling": outcome.ruling, "by": list(outcome.policies)} | (held if outcome.ruling == "suspend" else {})

"""Holds a run to what its workflow declares of models: which steps they may decide, and none in a fallback."""

from collections.abc import Awaitable, Callable

from runtime.conductor.done import Done
from runtime.contract.workflow import Workflow
from store.records.canonical import Json
from store.records.errors import ReplayMismatch, SettingsError


def refusal(workflow: Workflow, by_rule: bool, kind: str, name: str, arguments: Json) -> SettingsError | None:
    """Why no model may decide this step of a run, which is the fallback's if `by_rule`; None if one may.

    A reviewer may always be asked, for it can only say no.
    """
    if kind == "review":
        return None
    if by_rule:
        what = f"a fallback is decided by rules alone, and this one has a model decide ({kind})"
        return SettingsError(what, workflow.name, "let it do without")
    step, tools = ("work", [name]) if kind == "call" else (kind, arguments["tools"] if kind == "work" else [])
    if workflow.lets_model(step, tools):
        return None
    what = " ".join(["the workflow does not say that a model decides", step, *tools])
    return SettingsError(what, workflow.name, "add it to `by_model`")


def child_refusal(workflow: Workflow, by_rule: bool, child: Workflow) -> SettingsError | None:
    """Why a run of this workflow may not begin one of another; None if it may. What decides nothing by a model may not
    come by one through a run that it begins."""
    return None if child.deterministic else refusal(workflow, by_rule, "child", child.name, None)


def refused(error: SettingsError) -> Callable[[str], Awaitable[Done]]:
    """A step that fails with this before anybody is asked."""

    async def live(_path: str) -> Done:
        raise error

    return live


def decided_before(path: str) -> ReplayMismatch:
    """The error of a step that a model has decided, in a workflow that lets none decide it now."""
    what = "a model has decided this step, and the workflow says now that none does"
    return ReplayMismatch(what, f"step {path}", "finish the run with the workflow it began with")

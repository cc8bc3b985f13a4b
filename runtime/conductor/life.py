"""One life of a run: the workflow driven from where the record ends, until the run ends, is parked or told to stop.

What became of it is its last event. Who drives it when, and what comes after, is the conductor's to say.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from runtime.conductor.branch import Branch, current, within
from runtime.conductor.live import LiveRun
from runtime.conductor.parking import PARKS
from runtime.conductor.scope import Scope
from runtime.conductor.waits import Waits
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.notices import Notice
from store.records.canonical import Json, canonical
from store.records.errors import (
    BailiwickError,
    DeadLetter,
    Denied,
    InDoubt,
    Missing,
    ModelFailed,
    SettingsError,
    Timeout,
    Unreachable,
    describe,
)
from store.records.kinds import Ended, Kind
from store.records.problems import problems
from tools.record import ToolRecord

ROUTING = "route"
"""The branch that the router's choice is on, so that a workflow's own steps are counted alike with and without it."""


async def unrouted(_run: Run) -> None:
    """Stands for the workflow until the router has chosen one; it is never called."""
    raise Missing("the run has no workflow yet")


UNROUTED = Workflow("", 0, unrouted, None, ())
"""Stands for the workflow in the events before the router has chosen one."""


def lacks(workflow: Workflow, records: Mapping[str, ToolRecord]) -> list[str]:
    """The tools that a workflow names and no server offers."""
    return sorted(set(workflow.tools) - set(records))


def fitting(workflows: Mapping[str, Workflow], name: str, version: int | None, run: str) -> Workflow:
    """The workflow of this name, for a run that began with this version of it; None: with none yet. Raises Missing
    if it is not among these, or is in another version."""
    installed = workflows.get(name)
    if installed is None:
        raise Missing(f"the run's workflow {name!r} is not installed here", do="start the runtime with it")
    if version not in (None, installed.version):
        what = f"the run began with version {version} of {name!r}, and here is version {installed.version}"
        raise Missing(what, run, f"start the runtime with version {version}, or cancel the run")
    return installed


@dataclass
class Life:
    """A run while it is driven. `named` is the workflow that was asked for; empty: the router chooses."""

    workflows: Mapping[str, Workflow]
    waits: Waits
    named: str

    @property
    def scope(self) -> Scope:
        """The run."""
        return self.waits.scope

    async def see_through(self) -> None:
        """Drive the run. Raises CancelledError if the runtime ends; the run then goes on in its next life."""
        scope = self.scope
        current.set(Branch())
        live = LiveRun(scope, self.waits)
        try:
            scope.check_user()
            scope.workflow = await self._chosen(live)
            limit = scope.services.settings.run_timeout_s
            late = Timeout(f"the run did not end within {limit:g} s", scope.run, "raise run_timeout_s")
            status, outcome = await scope.clock.limit(self._work(live), late)
            scope.check_parked()
            value = _plain(outcome, scope.workflow.name)
            scope.journal.check_passed()
        except PARKS as error:
            await self._park(error)
        except asyncio.CancelledError:
            if scope.stopping is None or scope.ending:
                raise
            if scope.stopping == Kind.RUN_CANCELLING:
                await self._end("cancelled", {"text": "the run was cancelled"})
        except BailiwickError as error:
            status = "denied" if isinstance(error, Denied) else "failed"
            await self._end(status, {"error": describe(error), "text": str(error)})
        except Exception as error:
            text = f"the workflow raised {type(error).__name__}"
            await self._end("failed", {"error": {"kind": type(error).__name__}, "text": text})
            if scope.services.settings.debug:
                raise
        else:
            await self._end(status, {"value": value, "text": _text(outcome)})

    async def _work(self, live: LiveRun) -> tuple[Ended, Any]:
        """The workflow; where the model does not get there, its fallback."""
        scope = self.scope
        try:
            result = await scope.workflow(live, *_input(scope))
            status: Ended = "completed"
        except ModelFailed as error:
            if scope.denial is not None:
                raise scope.denial from None
            if scope.workflow.fallback is None:
                raise
            reason = str(error)
            current.set(Branch("rule."))
            live.to_rules()
            live.emit(f"the model did not get there: {reason}")
            result = await scope.workflow.fallback(live)
            status = "completed-by-fallback"
        if live.uncommitted:
            left = ", ".join(staged.tool for staged in live.uncommitted)
            raise SettingsError(f"the workflow ended with uncommitted effects: {left}", scope.workflow.name)
        return status, result

    async def _chosen(self, live: LiveRun) -> Workflow:
        if self.named:
            return self._workflow(self.named)
        records = self.scope.services.records
        choices = {name: flow.description for name, flow in sorted(self.workflows.items()) if not lacks(flow, records)}
        before = self.scope.journal.steps.get(f"{ROUTING}.1")
        if before is not None:
            choices = before.arguments  # what was chosen stays chosen, whatever has been installed since
        elif len(choices) == 1:
            return self._workflow(next(iter(choices)))
        return self._workflow(await within(ROUTING, lambda: live.route(choices)))

    def _workflow(self, name: str) -> Workflow:
        """The workflow of this name, in the version that the run began with. Raises Missing."""
        return fitting(self.workflows, name, self.scope.journal.versions.get(name), self.scope.run)

    async def _park(self, error: BailiwickError) -> None:
        """Leave the run open. On disk before anybody can resume it, for a resumed run reads its past from there.

        One that was parked for as much before, and has told nothing since, is parked still.
        """
        scope = self.scope
        scope.over = True
        if isinstance(error, Unreachable) and not isinstance(error, Missing):
            scope.away = error
        decision, before = type(error).__name__.lower(), scope.journal.parked
        if scope.services.recorder.withdraw(scope.run) and before is not None and before.decision == decision:
            return
        step = scope.dead_letter if isinstance(error, DeadLetter) else ""
        draft = scope.draft(Kind.RUN_PARKED, step, decision=decision)
        await scope.durable(draft, {"error": describe(error), "text": str(error)})
        if isinstance(error, InDoubt):
            doubt = next(iter(scope.services.gate.effects.open_intents(scope.run)), None)
            tool = doubt.tool if doubt else ""
            scope.services.notify(Notice("in-doubt", scope.run, scope.run, scope.workflow.name, tool))

    async def _end(self, status: Ended, payload: dict[str, Any]) -> None:
        """The last event of the run. One of whose effects nobody knows whether it happened is parked instead."""
        scope = self.scope
        if doubt := scope.services.gate.effects.open_intents(scope.run):
            what = f"the run would have ended as {status}, but nobody knows whether {doubt[0].tool} happened"
            await self._park(InDoubt(what, f"step {doubt[0].step}", "`bailiwick runs settle`, or resume it"))
            return
        scope.over = True
        by = "" if not status.startswith("completed") else "model" if scope.by_model and not scope.by_rule else "rule"
        draft = scope.draft(Kind.RUN_ENDED, decision=status, labels=scope.labels)
        await scope.durable(draft, {**payload, "resolved_by": by})
        scope.services.gate.forget(scope.run)
        scope.ended = True


def _input(scope: Scope) -> tuple[Any, ...]:
    """The workflow's typed input, if it takes one. Raises SettingsError if what was given does not fit."""
    model = scope.workflow.input
    if model is None:
        return ()
    try:
        return (model.model_validate(scope.input),)
    except ValidationError as error:
        raise SettingsError(f"the run's input does not fit: {problems(error, most=5)}", scope.workflow.name) from None


def _plain(value: Any, workflow: str) -> Json:
    """A workflow's result as JSON. Raises SettingsError if it cannot be written down."""
    plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    try:
        canonical(plain)
    except (ValueError, RecursionError):
        raise SettingsError("the workflow's result is not JSON", workflow, "return a pydantic model or JSON") from None
    return plain


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(getattr(value, "text", "") or "")

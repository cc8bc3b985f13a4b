"""The conductor: takes submissions, drives runs to their end, and brings open runs back."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.conductor.branch import Branch, current, within
from runtime.conductor.clock import Clock
from runtime.conductor.journal import Journal
from runtime.conductor.live import LiveRun
from runtime.conductor.scope import CORE_VERSION, PARKS, Scope, Services
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import Submission
from store.ledger.ledger import Ledger
from store.records.canonical import Json, canonical
from store.records.errors import BailiwickError, Denied, ModelFailed, SettingsError, Timeout, Unreachable, describe
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Ended, Kind
from store.records.labels import Classification, Integrity, Labels, trusted

ROUTING = "route"
"""The branch that the router's choice is on, so that a workflow's own steps are counted alike with and without it."""


async def unrouted(_run: Run) -> None:
    """Stands for the workflow until the router has chosen one; it is never called."""
    raise Unreachable("the run has no workflow yet")


@dataclass
class Conductor:
    """All runs of one core."""

    ledger: Ledger
    services: Services
    workflows: Mapping[str, Workflow]
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def submit(self, submission: Submission, user: User) -> str:
        """Put a submission on disk and start its run. Raises SettingsError for an unknown workflow."""
        if submission.workflow and submission.workflow not in self.workflows:
            known = ", ".join(sorted(self.workflows))
            raise SettingsError(f"no workflow {submission.workflow!r}", do=f"name one of: {known}")
        if submission.workflow and (lacking := self._lacks(self.workflows[submission.workflow])):
            what = f"the workflow {submission.workflow} needs tools that nobody offers: {', '.join(lacking)}"
            raise SettingsError(what, do="name their tools file with --tools")
        run = _run_id()
        draft = Draft(
            kind=Kind.RUN_SUBMITTED,
            tenant=user.tenant,
            unit=user.unit,
            run=run,
            actor="gateway",
            actor_version=CORE_VERSION,
            principal=user.name,
            workflow=submission.workflow,
            labels=trusted(user.tenant, "user"),
        )
        await self.ledger.append(draft, {**submission.model_dump(mode="json"), "user": user.json()}).durable()
        self._drive(run)
        return run

    def resume(self, only: str = "") -> list[str]:
        """Bring back every open run that is not being driven, or the one whose id begins like `only`; their ids.

        Raises SettingsError if there is no such run, more than one, or it has ended.
        """
        runs = [row.run for row in self.ledger.open_runs()]
        if only:
            named = self.ledger.find_run(only).run
            if named not in runs:
                raise SettingsError("the run has ended, there is nothing to resume", named, "see `bailiwick runs show`")
            runs = [named]
        for run in runs:
            self._drive(run)
        return runs

    async def ended(self, run: str) -> None:
        """Wait until a run is no longer driven: it has ended or is parked."""
        task = self.tasks.get(run)
        if task is not None:
            await asyncio.wait([task])

    async def close(self) -> None:
        """Stop driving. Runs stay open and resume at the next start."""
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drive(self, run: str) -> None:
        """Drive a run, unless it is being driven: `resume` may see a submission before `submit` has returned."""
        if run in self.tasks:
            return
        task = asyncio.get_running_loop().create_task(self._run(run), name=f"run {run}")
        self.tasks[run] = task
        task.add_done_callback(lambda _: self.tasks.pop(run, None))

    async def _run(self, run: str) -> None:
        events = self.ledger.run_events(run)
        if events[-1].kind == Kind.RUN_ENDED:
            return
        try:
            past = [(event, self._payload(event)) for event in events]
        except BailiwickError as error:
            await self._unreadable(events[0], error)
            return
        first, submission = past[0]
        scope = self._scope(first, submission, Journal.read(past))
        current.set(Branch())
        kind = Kind.RUN_STARTED if len(past) == 1 else Kind.RUN_RESUMED
        self.ledger.append(scope.draft(kind, labels=scope.labels))
        live = LiveRun(scope)
        try:
            scope.workflow = await self._chosen(scope, live, submission["workflow"])
            limit = self.services.settings.run_timeout_s
            late = Timeout(f"the run did not end within {limit:g} s", run, "raise run_timeout_s")
            status, outcome = await scope.clock.limit(self._work(scope, live), late)
            value = _plain(outcome, scope.workflow.name)
            scope.journal.check_passed()
        except PARKS as error:
            await self._park(scope, error)
        except BailiwickError as error:
            status = "denied" if isinstance(error, Denied) else "failed"
            await self._end(scope, status, {"error": describe(error), "text": str(error)})
        except Exception as error:
            text = f"the workflow raised {type(error).__name__}"
            await self._end(scope, "failed", {"error": {"kind": type(error).__name__}, "text": text})
            if self.services.settings.debug:
                raise
        else:
            await self._end(scope, status, {"value": value, "text": _text(outcome)})

    async def _work(self, scope: Scope, live: LiveRun) -> tuple[Ended, Any]:
        """The workflow; where the model does not get there, its fallback."""
        try:
            result = await scope.workflow(live, *self._input(scope))
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

    async def _chosen(self, scope: Scope, live: LiveRun, named: str) -> Workflow:
        if named:
            return self._workflow(named)
        choices = {name: flow.description for name, flow in sorted(self.workflows.items()) if not self._lacks(flow)}
        before = scope.journal.steps.get(f"{ROUTING}.1")
        if before is not None:
            choices = before.arguments  # what was chosen stays chosen, whatever has been installed since
        elif len(choices) == 1:
            return self._workflow(next(iter(choices)))
        return self._workflow(await within(ROUTING, lambda: live.route(choices)))

    def _lacks(self, workflow: Workflow) -> list[str]:
        """The tools that a workflow names and no server offers."""
        return sorted(set(workflow.tools) - set(self.services.records))

    def _workflow(self, name: str) -> Workflow:
        if name not in self.workflows:
            raise Unreachable(f"the run's workflow {name!r} is not installed here", do="start the runtime with it")
        return self.workflows[name]

    def _input(self, scope: Scope) -> tuple[Any, ...]:
        model = scope.workflow.input
        return () if model is None else (model.model_validate(scope.input),)

    def _scope(self, first: Event, submission: Json, journal: Journal) -> Scope:
        user = User.parse(submission["user"])
        labels = trusted(user.tenant, "user")
        if submission["attachments"]:
            labels = labels.join(Labels(user.tenant, Classification.INTERNAL, Integrity.UNTRUSTED, ("attachment",)))
        return Scope(
            run=first.run,
            user=user,
            task=submission["task"],
            attachments=tuple(submission["attachments"]),
            seed=submission["seed"],
            input=submission["input"],
            workflow=self.workflows.get(submission["workflow"], UNROUTED),
            journal=journal,
            labels=labels,
            services=self.services,
            clock=Clock(self.services.settings.run_timeout_s),
        )

    def _payload(self, event: Event) -> Json:
        return self.ledger.payload(event.payload) if event.payload else None

    async def _unreadable(self, first: Event, error: BailiwickError) -> None:
        """Park a run whose record cannot be read: without it nobody knows what it has done."""
        draft = Draft(
            kind=Kind.RUN_PARKED,
            tenant=first.tenant,
            unit=first.unit,
            run=first.run,
            actor="core",
            actor_version=CORE_VERSION,
            principal=first.principal,
            decision=type(error).__name__.lower(),
        )
        await self.ledger.append(draft, {"error": describe(error), "text": str(error)}).durable()

    async def _park(self, scope: Scope, error: BailiwickError) -> None:
        """Leave the run open. On disk before anybody can resume it, for a resumed run reads its past from there."""
        draft = scope.draft(Kind.RUN_PARKED, decision=type(error).__name__.lower())
        await self.ledger.append(draft, {"error": describe(error), "text": str(error)}).durable()

    async def _end(self, scope: Scope, status: Ended, payload: dict[str, Any]) -> None:
        by = "" if not status.startswith("completed") else "model" if scope.by_model and not scope.by_rule else "rule"
        draft = scope.draft(Kind.RUN_ENDED, decision=status, labels=scope.labels)
        await self.ledger.append(draft, {**payload, "resolved_by": by}).durable()
        self.services.gate.forget(scope.run)


UNROUTED = Workflow("", 0, unrouted, None, ())
"""Stands for the workflow in the events before the router has chosen one."""


def _run_id() -> str:
    """A new run's id: sortable by time, unguessable in its second half."""
    return f"r{int(time.time()):08x}{uuid.uuid4().hex[:10]}"


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

"""The change set: effects staged by model or rule, reviewed as one, committed whole or not at all."""

from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from runtime.conductor.branch import current
from runtime.conductor.journal import COMMIT, fingerprint, mismatch
from runtime.conductor.scope import Done, Scope
from runtime.contract.values import Receipt, Ref, Staged, record
from runtime.gate.call import Approval, ToolCall, is_reference
from runtime.gate.errors import Suspended
from runtime.gate.labelled import result_labels
from store.records.canonical import Json, digest
from store.records.errors import BudgetExceeded, Denied, SettingsError, ToolFailed
from store.records.event import Draft, Event
from store.records.kinds import Kind
from tools.record import ToolRecord
from tools.schema import Checker

staged_here: ContextVar["ChangeSet"] = ContextVar("staged_here")
"""The change set of the branch that runs: branches stage, review and commit apart from each other."""


@dataclass
class ChangeSet:
    """The uncommitted effects of one branch of a run, in the order in which they were staged."""

    scope: Scope
    effects: list[Staged] = field(default_factory=list)
    reviewed: bool = False

    def take_over(self, other: "ChangeSet") -> None:
        """Add what a branch that has ended left uncommitted."""
        self.effects += other.effects
        self.reviewed = self.reviewed and not other.effects

    def stage(self, tool: str, arguments: dict[str, Any], by: Literal["model", "rule"]) -> Staged:
        """Add an effect. Raises SettingsError for a read and for arguments that do not fit the tool's schema."""
        known = self.scope.tool(tool)
        if known.local_read:
            raise SettingsError("a local read is called, not staged", tool, "use run.call")
        self._check_references(known, arguments)
        plain = _plain(arguments)
        if not _references(arguments):
            check(known.input_schema, plain, tool)
        path = current.get().next()
        mark = fingerprint("stage", tool, plain)
        if not self.scope.journal.was_noted(path, mark, f"stage {tool}"):
            draft = self.scope.draft(
                Kind.STAGED,
                path,
                "worker" if by == "model" else "",
                fingerprint=mark,
                tool=tool,
                tool_digest=known.digest,
                labels=self.scope.labels,
            )
            self.scope.services.recorder.append(draft, {"kind": "stage", "name": tool, "by": by, "arguments": plain})
        staged = Staged(path, tool, arguments, by)
        self.effects.append(staged)
        self.reviewed = False
        return staged

    def discard(self) -> None:
        """Throw the set away."""
        if not self.effects:
            return
        path = current.get().next()
        mark = fingerprint("discard", "", [staged.step for staged in self.effects])
        if not self.scope.journal.was_noted(path, mark, "discard"):
            payload = {"kind": "discard", "steps": [staged.step for staged in self.effects]}
            self.scope.services.recorder.append(
                self.scope.draft(Kind.CHANGE_SET_DISCARDED, path, fingerprint=mark), payload
            )
        self.effects.clear()
        self.reviewed = False

    async def commit(self) -> list[Receipt]:
        """Decide on every effect, collect every approval, then do each effect in turn.

        The run's clock stands still: a person may take their time, and an effect under way is not broken off.
        """
        if not self.reviewed:
            raise Denied("the change set was not reviewed", self.scope.run, "call run.review() before run.commit()")
        effects, self.effects, self.reviewed = self.effects, [], False
        plain = [[staged.step, staged.tool, _plain(staged.arguments)] for staged in effects]

        async def live(path: str) -> Done:
            with self.scope.clock.stopped():
                receipts = await self._done(path, effects)
            return Done([[each.step, each.tool, each.key, each.result] for each in receipts])

        value = await self.scope.step(COMMIT, "", plain, live)
        return [Receipt(step, tool, key, record(result)) for step, tool, key, result in value]

    async def _done(self, path: str, effects: list[Staged]) -> list[Receipt]:
        calls = self._calls(path, effects)
        approvals = await self._approvals(calls)
        self._check_budget([call for call in calls if self._outcome(call) is None])
        receipts: list[Receipt] = []
        for call, staged, approval in zip(calls, effects, approvals, strict=True):
            arguments = _filled(staged.arguments, receipts)
            check(call.record.input_schema, arguments, call.record.name)
            cause = approval.answer if approval else 0
            made = replace(call, arguments=arguments, approval=approval, cause=cause)
            receipts.append(await self._effect(made, staged))
        return receipts

    def _check_budget(self, calls: list[ToolCall]) -> None:
        """Raise BudgetExceeded if the budget does not reach for the whole set: half of one is never done."""
        steps = [call.step for call in calls]
        if not self.scope.services.gate.budgets.covers(self.scope.run, self.scope.user, steps):
            what = f"the budget does not reach for the {len(calls)} effects of the change set"
            raise BudgetExceeded(what, f"run {self.scope.run}", "raise calls_per_run or ask for less")

    def _calls(self, path: str, effects: list[Staged]) -> list[ToolCall]:
        """The calls of a reviewed set. One that uses another's result carries that result's labels, too."""
        calls: dict[str, ToolCall] = {}
        for index, staged in enumerate(effects, 1):
            step = f"{path}.{index}"
            call = self.scope.call(step, self.scope.tool(staged.tool), _plain(staged.arguments), staged.by)
            used = [result_labels(calls[ref.step], error=False) for ref in _references(staged.arguments)]
            labels = call.labels.join(*used)
            calls[staged.step] = replace(call, key=f"{self.scope.run}/{step}", reviewed=True, labels=labels)
        return list(calls.values())

    def _check_references(self, tool: ToolRecord, arguments: dict[str, Any]) -> None:
        """Raise SettingsError for a reference that could not be filled in at commit, when effects have happened, or
        that would decide what is touched: policy and person judge a change set before any of it is done.
        """
        known = {staged.step for staged in self.effects}
        for ref in _references(arguments):
            if ref.step not in known:
                raise SettingsError("a reference to an effect that is not staged before this one", tool.name)
        for name in (*tool.consequential, tool.target):
            if isinstance(arguments.get(name), Ref):
                raise SettingsError(f"{name} decides what is touched and cannot be another's result", tool.name)
        if any(is_reference(value) for value in arguments.values()):
            raise SettingsError("an argument looks like a reference", tool.name, "use staged.ref(...)")

    async def _approvals(self, calls: list[ToolCall]) -> list[Approval | None]:
        """Policy's word on the whole set first; then a person's on each call that policy suspends."""
        held: list[Suspended | None] = []
        denials: list[Denied] = []
        for call in calls:
            if self._outcome(call):
                held.append(None)
                continue
            try:
                self.scope.services.gate.judge(call)
                held.append(None)
            except Suspended as suspended:
                held.append(suspended)
            except Denied as denied:
                denials.append(denied)
        if denials:
            raise denials[0]
        return [None if suspended is None else await self._approval(suspended) for suspended in held]

    async def _approval(self, suspended: Suspended) -> Approval:
        """A person's yes to one call. Raises Denied on a no."""
        call, services = suspended.call, self.scope.services
        if any(is_reference(value) for value in call.arguments.values()):
            raise Denied("an effect that needs an approval cannot use another's result", call.record.name)
        view = _view(suspended)
        answer = self.scope.journal.approvals.get(view["approval"])
        if answer is None:
            request = self.scope.journal.requested.get(view["approval"])
            answer = await services.approver.wait(self._request(call, suspended.binding), view, request)
        elif answer.fingerprint != suspended.binding:
            raise Denied(f"the approval of {call.record.name} was given for another call", view["approval"])
        if answer.decision != "yes":
            raise Denied(f"{answer.principal} denied {call.record.name}", f"approval {view['approval']}")
        return Approval(suspended.binding, answer.principal, answer.seq)

    def _request(self, call: ToolCall, binding: str) -> Draft:
        return self.scope.draft(
            Kind.APPROVAL_REQUESTED,
            call.step,
            cause=call.cause,
            tool=call.record.name,
            tool_digest=call.record.digest,
            policy_digest=self.scope.services.policy_digest,
            fingerprint=binding,
            labels=call.labels,
        )

    async def _effect(self, call: ToolCall, staged: Staged) -> Receipt:
        """One effect, exactly once: its recorded outcome, or the gate's, which settles an intent left open."""
        outcome = self._outcome(call)
        if outcome is None:
            result = await self.scope.services.gate.call(call)
            self.scope.absorb(result.labels)
            value, error = result.value, result.error
        else:
            event, payload = outcome
            if (event.tool, event.fingerprint) != (call.record.name, digest(call.arguments)):
                raise mismatch(call.step, f"the effect {call.record.name}")
            self.scope.absorb(event.labels)
            value, error = payload["value"], payload["error"]
        if error:
            raise ToolFailed("the tool refused the effect", f"{call.record.name}, step {call.step}")
        return Receipt(staged.step, staged.tool, call.key, value)

    def _outcome(self, call: ToolCall) -> tuple[Event, Json] | None:
        """What an earlier life has recorded as this effect's outcome."""
        past = self.scope.journal.effects.get(call.step, [])
        return next(((event, payload) for event, payload in past if event.kind == Kind.EFFECT_OUTCOME), None)


def _view(suspended: Suspended) -> dict[str, Any]:
    """What the person is shown: everything, never cut."""
    call = suspended.call
    return {
        "approval": suspended.binding[:16],
        "run": call.run,
        "step": call.step,
        "tool": call.record.name,
        "arguments": call.arguments,
        "requester": call.principal.user.name,
        "policies": list(suspended.policies),
        "binding": suspended.binding,
        "labels": call.labels.json(),
    }


def check(schema: dict[str, Any], arguments: Json, tool: str) -> None:
    """Raise SettingsError if arguments do not fit a tool's schema."""
    problem = Checker(schema).problem(arguments)
    if problem:
        raise SettingsError(f"the arguments do not fit: {problem}", tool)


def _references(arguments: dict[str, Any]) -> list[Ref]:
    """The references among arguments. One stands for a whole argument, never for a part of it."""
    return [value for value in arguments.values() if isinstance(value, Ref)]


def _plain(arguments: dict[str, Any]) -> dict[str, Json]:
    """Arguments as they are recorded and shown, with references written out."""
    return {
        name: {"$ref": [value.step, value.field]} if isinstance(value, Ref) else value
        for name, value in arguments.items()
    }


def _filled(arguments: dict[str, Any], receipts: list[Receipt]) -> dict[str, Any]:
    results = {receipt.step: receipt.result for receipt in receipts}
    filled = {}
    for name, value in arguments.items():
        if isinstance(value, Ref):
            if value.step not in results or value.field not in (results[value.step] or {}):
                raise ToolFailed(f"the effect at step {value.step} gave no {value.field!r}", f"argument {name}")
            filled[name] = results[value.step][value.field]
        else:
            filled[name] = value
    return filled

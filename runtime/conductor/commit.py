"""A commit: all approvals first, then each effect in turn; when one fails, what was done before it is undone.

That is a saga (Garcia-Molina and Salem, 1987): the effects that have a compensating tool are undone in reverse order,
and each of that is an effect of its own, which passes the gate and leaves intent and outcome. Nothing here repeats an
effect whose outcome is on record.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from runtime.conductor.arguments import check, filled_in, references, written_out
from runtime.conductor.journal import mismatch
from runtime.conductor.parking import PARKS
from runtime.conductor.scope import Scope
from runtime.contract.values import Receipt, Staged
from runtime.gate.budgets import Amount, Reservation
from runtime.gate.call import Approval, ToolCall, is_reference
from runtime.gate.errors import Suspended
from runtime.gate.labelled import result_labels
from store.records.canonical import Json, digest
from store.records.errors import BailiwickError, BudgetExceeded, Denied, ToolFailed, describe, revive
from store.records.event import Draft, Event
from store.records.kinds import Kind

UNDOES = "undoes"
"""The argument of a compensating tool that takes the key of the effect to undo."""


class Commit:
    """The commit of one change set, at one step of a run."""

    def __init__(self, scope: Scope, path: str, effects: Sequence[Staged]) -> None:
        self._scope = scope
        self._services = scope.services
        self._path = path
        self._effects = effects
        self._undoing: Reservation | None = None

    async def receipts(self) -> list[Receipt]:
        """Do all of it. Raises Denied or BudgetExceeded before the first effect; an error later has been undone."""
        calls = self._calls()
        failed = self._scope.journal.undoing.get(self._path)
        if failed is not None:  # in an earlier life; what was done is undone, and nothing more is done
            return await self._scope.unbroken(self._undone_again(failed, calls))
        approvals = await self._approvals(calls)
        undoable = sum(call.record.compensate in self._services.records for call in calls)
        with self._budget([call for call in calls if self._outcome(call) is None], undoable):
            return await self._scope.unbroken(self._all(calls, approvals))

    async def _all(self, calls: list[ToolCall], approvals: list[Approval | None]) -> list[Receipt]:
        done: list[tuple[ToolCall, Receipt]] = []
        try:
            for call, staged, approval in zip(calls, self._effects, approvals, strict=True):
                arguments = filled_in(staged.arguments, [receipt for _, receipt in done])
                check(call.record.input_schema, arguments, call.record.name)
                filled = replace(call, arguments=arguments)
                value = await self._effect(_approved(filled, approval))
                done.append((filled, Receipt(staged.step, staged.tool, call.key, value)))
        except PARKS:
            raise
        except BailiwickError as error:
            if not done:
                raise
            draft = self._scope.draft(Kind.COMMIT_FAILED, self._path, decision=type(error).__name__.lower())
            await self._scope.durable(draft, {"error": describe(error)})
            raise await self._undone(error, done) from None
        return [receipt for _, receipt in done]

    async def _undone_again(self, failed: BailiwickError, calls: list[ToolCall]) -> list[Receipt]:
        """Go on undoing what is on record as done. Raises the error that the commit failed with."""
        done: list[tuple[ToolCall, Receipt]] = []
        for call, staged in zip(calls, self._effects, strict=True):
            outcome = self._outcome(call)
            if outcome is None or outcome[1]["error"]:
                break
            arguments = filled_in(staged.arguments, [receipt for _, receipt in done])
            filled = replace(call, arguments=arguments)
            value = await self._effect(filled)
            done.append((filled, Receipt(staged.step, staged.tool, call.key, value)))
        raise await self._undone(failed, done)

    async def _undone(self, error: BailiwickError, done: list[tuple[ToolCall, Receipt]]) -> BailiwickError:
        """Undo what can be undone, the last effect first; the error, which then says what became of each."""
        if self._undoing is not None:
            self._services.gate.budgets.settle(self._undoing, Amount())  # what was held for this is free for it now
        told = []
        for index, (call, receipt) in enumerate(reversed(done), len(self._effects) + 1):
            if not call.record.compensate:
                told.append(f"{call.record.name} stays, nothing undoes it")
                continue
            try:
                await self._undo(f"{self._path}.{index}", call, receipt)
                told.append(f"{call.record.name} is undone")
            except PARKS:
                raise
            except BailiwickError:
                told.append(f"{call.record.name} stays, {call.record.compensate} failed")
        return revive(**describe(error) | {"what": f"{error.what}; {', '.join(told)}"})

    async def _undo(self, step: str, call: ToolCall, receipt: Receipt) -> None:
        """One compensating effect. Its arguments are those of the effect and then its results, by name.

        It was reviewed with the effect, whose record names it. The run must be allowed the tool like any other.
        """
        tool = self._scope.tool(call.record.compensate)
        result = receipt.result if isinstance(receipt.result, dict) else {}
        known = {**result, **call.arguments, UNDOES: receipt.key}
        wanted = set(tool.input_schema.get("properties", {})) - {tool.key_argument}
        arguments = {name: value for name, value in known.items() if name in wanted}
        check(tool.input_schema, arguments, tool.name)
        made = self._scope.call(step, tool, arguments, "rule")
        labels = made.labels.join(result_labels(call, error=False))
        made = replace(made, key=f"{self._scope.run}/{step}", reviewed=True, labels=labels)
        [approval] = await self._approvals([made])
        await self._effect(_approved(made, approval))

    async def _effect(self, call: ToolCall) -> Json:
        """One effect, exactly once: its recorded outcome, or the gate's, which settles an intent left open."""
        outcome = self._outcome(call)
        if outcome is None:
            result = await self._services.gate.call(call)
            self._scope.absorb(result.labels)
            value, error = result.value, result.error
        else:
            event, payload = outcome
            if (event.tool, event.fingerprint) != (call.record.name, digest(call.arguments)):
                raise mismatch(call.step, f"the effect {call.record.name}")
            self._scope.absorb(event.labels)
            value, error = payload["value"], payload["error"]
        if error:
            raise ToolFailed("the tool refused the effect", f"{call.record.name}, step {call.step}")
        return value

    @contextmanager
    def _budget(self, calls: list[ToolCall], undoable: int) -> Iterator[None]:
        """Hold the calls of the whole set, and those that undo it: half of one is never done for want of budget.

        Raises BudgetExceeded. What was held for undoing is given back.
        """
        budgets, steps = self._services.gate.budgets, [call.step for call in calls]
        try:
            held, undoing = budgets.reserve_calls(self._scope.run, self._scope.user, steps, undoable)
        except BudgetExceeded:
            what = f"the budget does not reach for the {len(calls)} effects of the change set, and to undo them"
            raise BudgetExceeded(what, f"run {self._scope.run}", "raise calls_per_run or ask for less") from None
        self._undoing = undoing
        try:
            yield
        finally:
            budgets.settle(held, held.amount)
            budgets.settle(undoing, Amount())

    def _calls(self) -> list[ToolCall]:
        """The calls of a reviewed set. One that uses another's result carries that result's labels, too."""
        calls: dict[str, ToolCall] = {}
        for index, staged in enumerate(self._effects, 1):
            step = f"{self._path}.{index}"
            call = self._scope.call(step, self._scope.tool(staged.tool), written_out(staged.arguments), staged.by)
            used = [result_labels(calls[ref.step], error=False) for ref in references(staged.arguments)]
            labels = call.labels.join(*used)
            calls[staged.step] = replace(call, key=f"{self._scope.run}/{step}", reviewed=True, labels=labels)
        return list(calls.values())

    async def _approvals(self, calls: list[ToolCall]) -> list[Approval | None]:
        """Policy's word on the whole set first; then a person's on each call that policy suspends."""
        held: list[Suspended | None] = []
        denials: list[Denied] = []
        for call in calls:
            if self._outcome(call):
                held.append(None)
                continue
            try:
                self._services.gate.judge(call)
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
        call, services = suspended.call, self._services
        if any(is_reference(value) for value in call.arguments.values()):
            raise Denied("an effect that needs an approval cannot use another's result", call.record.name)
        view = _view(suspended)
        answer = self._scope.journal.approvals.get(view["approval"])
        if answer is None:
            request = self._scope.journal.requested.get(view["approval"])
            answer = await services.approver.wait(self._request(call, suspended.binding), view, request)
        elif answer.fingerprint != suspended.binding:
            raise Denied(f"the approval of {call.record.name} was given for another call", view["approval"])
        if answer.decision != "yes":
            raise Denied(f"{answer.principal} denied {call.record.name}", f"approval {view['approval']}")
        return Approval(suspended.binding, answer.principal, answer.seq)

    def _request(self, call: ToolCall, binding: str) -> Draft:
        return self._scope.draft(
            Kind.APPROVAL_REQUESTED,
            call.step,
            cause=call.cause,
            tool=call.record.name,
            tool_digest=call.record.digest,
            policy_digest=self._services.policy_digest,
            fingerprint=binding,
            labels=call.labels,
        )

    def _outcome(self, call: ToolCall) -> tuple[Event, Json] | None:
        """What an earlier life has recorded as this effect's outcome."""
        past = self._scope.journal.effects.get(call.step, [])
        return next(((event, payload) for event, payload in past if event.kind == Kind.EFFECT_OUTCOME), None)


def _approved(call: ToolCall, approval: Approval | None) -> ToolCall:
    return replace(call, approval=approval, cause=approval.answer if approval else 0)


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

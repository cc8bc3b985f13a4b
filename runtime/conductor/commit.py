"""A commit: all approvals first, then each effect in turn; when one fails, what was done before it is undone.

That is a saga (Garcia-Molina and Salem, 1987): the effects that have a compensating tool are undone in reverse order,
and each of that is an effect of its own, which passes the gate and leaves intent and outcome. Nothing here repeats an
effect whose outcome is on record.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from runtime.conductor.arguments import check, filled_in, references, written_out
from runtime.conductor.journal import mismatch
from runtime.conductor.parking import PARKS
from runtime.conductor.request import UNDOES, approval_id, shown, undoing
from runtime.conductor.scope import Scope
from runtime.contract.values import Receipt, Staged
from runtime.gate.amount import Amount
from runtime.gate.budgets import Asked, Reservation
from runtime.gate.call import Approval, ToolCall, is_reference
from runtime.gate.errors import Outdated, Suspended
from runtime.gate.labelled import result_labels
from store.records.canonical import Json, digest
from store.records.errors import BailiwickError, BudgetExceeded, Denied, ToolFailed, describe, revive
from store.records.event import Draft, Event
from store.records.kinds import Kind


class Commit:
    """The commit of one change set, at one step of a run."""

    def __init__(self, scope: Scope, path: str, effects: Sequence[Staged]) -> None:
        self._scope = scope
        self._services = scope.services
        self._path = path
        self._effects = effects
        self._undoing: list[Reservation] = []

    async def receipts(self) -> list[Receipt]:
        """Do all of it. Raises Denied or BudgetExceeded before the first effect; an error later has been undone."""
        calls = self._calls()
        failed = self._scope.journal.undoing.get(self._path)
        if failed is not None:  # in an earlier life; what was done is undone, and nothing more is done
            return await self._scope.unbroken(self._undone_again(failed, calls))
        approvals = await self._approvals(calls)
        self._scope.check_user()  # somebody may have taken days to answer
        with self._budget([call for call in calls if self._outcome(call) is None]):
            return await self._scope.unbroken(self._all(calls, approvals))

    async def _all(self, calls: list[ToolCall], approvals: list[tuple[Approval, ...]]) -> list[Receipt]:
        done: list[tuple[ToolCall, Receipt]] = []
        try:
            for call, staged, approved in zip(calls, self._effects, approvals, strict=True):
                arguments = filled_in(staged.arguments, [receipt for _, receipt in done])
                check(call.record.input_schema, arguments, call.record.name)
                filled = replace(call, arguments=arguments)
                value = await self._effect(_with(filled, approved))
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
        self._let_go()  # what was held for this is free for it now
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

        It was reviewed with the effect, whose record names it. The run must be allowed the tool like any other, and
        policy judges it anew: by the labels of the effect, and of its results if it takes any. What made the commit
        fail, and what that said, has no say in which effects are undone, nor in how.
        """
        tool = self._scope.tool(call.record.compensate)
        arguments = undoing(tool, call, receipt.result)
        check(tool.input_schema, arguments, tool.name)
        made = self._scope.call(step, tool, arguments, "rule")
        takes_results = bool(arguments.keys() - call.arguments.keys() - {UNDOES})
        labels = result_labels(call, error=False) if takes_results else call.labels
        grounds = made.grounds.declaring(receipt.key)  # which the runtime itself made
        made = replace(made, key=f"{self._scope.run}/{step}", reviewed=True, labels=labels, grounds=grounds)
        [approved] = await self._approvals([made])
        await self._effect(_with(made, approved))

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
    def _budget(self, calls: list[ToolCall]) -> Iterator[None]:
        """Set the calls of the whole set aside, and those that undo it: half of one is never done for want of budget.

        Raises BudgetExceeded. What was not used is given back.
        """
        budgets, budgeted = self._services.gate.budgets, self._services.gate.budgeted
        asked = [budgeted.asked(call) for call in calls]
        try:
            self._undoing = budgets.set_aside(asked, self._undo_asked(calls))
        except BudgetExceeded as error:
            for call in calls:
                budgeted.refuse(call, error)
            what = f"the {len(calls)} effects of the change set, and undoing them, are over budget: {error.what}"
            raise BudgetExceeded(what, error.where, error.do) from None
        try:
            yield
        finally:
            budgets.put_back(asked)
            self._let_go()

    def _undo_asked(self, calls: list[ToolCall]) -> list[Asked]:
        """What undoing these calls would ask of the budgets, as far as they can be undone."""
        records = self._services.records
        undoing = [records[call.record.compensate] for call in calls if call.record.compensate in records]
        made = [self._scope.call("", record, {}, "rule") for record in undoing]
        return [self._services.gate.budgeted.asked(call) for call in made]

    def _let_go(self) -> None:
        for reservation in self._undoing:
            self._services.gate.budgets.settle(reservation, Amount())
        self._undoing = []

    def _calls(self) -> list[ToolCall]:
        """The calls of a reviewed set. One that uses another's result carries that result's labels, too."""
        calls: dict[str, ToolCall] = {}
        for index, staged in enumerate(self._effects, 1):
            step = f"{self._path}.{index}"
            tool, placed = self._scope.tool(staged.tool), self._scope.placed.get(staged.step)
            call = self._scope.call(step, tool, written_out(staged.arguments), staged.by, placed)
            used = [result_labels(calls[ref.step], error=False) for ref in references(staged.arguments)]
            labels = call.labels.join(*used)
            calls[staged.step] = replace(call, key=f"{self._scope.run}/{step}", reviewed=True, labels=labels)
        return list(calls.values())

    async def _approvals(self, calls: list[ToolCall]) -> list[tuple[Approval, ...]]:
        """Policy's word on the whole set first; then a person's on each call that policy suspends. All of it under one
        version of the policies: if others come into force meanwhile, from the beginning."""
        while True:
            version = self._services.gate.policy.digest
            try:
                found = [() if held is None else await self._approved(held) for held in self._held(calls)]
            except Outdated:
                continue
            if self._services.gate.policy.digest == version:
                return found

    def _held(self, calls: list[ToolCall]) -> list[Suspended | None]:
        """Of each call, how policy suspends it, if it does. Raises the first denial, once all have been judged."""
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
        return held

    async def _approved(self, suspended: Suspended) -> tuple[Approval, ...]:
        """People's yes to one call. Raises Denied on a no, Outdated."""
        call, services, journal = suspended.call, self._services, self._scope.journal
        if any(is_reference(value) for value in call.arguments.values()):
            raise Denied("an effect that needs an approval cannot use another's result", call.record.name)
        view = shown(suspended, services.gate.policy, services.records)
        id = approval_id(suspended.binding)
        draft = self._request(call, suspended.binding)
        return await services.approver.ask(
            suspended, draft, view, journal.requested.get(id), journal.approvals.get(id, ())
        )

    def _request(self, call: ToolCall, binding: str) -> Draft:
        return self._scope.draft(
            Kind.APPROVAL_REQUESTED,
            call.step,
            cause=call.cause,
            tool=call.record.name,
            tool_digest=call.record.digest,
            policy_digest=self._services.gate.policy.digest,
            fingerprint=binding,
            labels=call.labels,
        )

    def _outcome(self, call: ToolCall) -> tuple[Event, Json] | None:
        """What an earlier life has recorded as this effect's outcome."""
        past = self._scope.journal.effects.get(call.step, [])
        return next(((event, payload) for event, payload in past if event.kind == Kind.EFFECT_OUTCOME), None)


def _with(call: ToolCall, approvals: tuple[Approval, ...]) -> ToolCall:
    """The call with its approvals; it follows from the last of them."""
    return replace(call, approvals=approvals, cause=max((each.answer for each in approvals), default=0))

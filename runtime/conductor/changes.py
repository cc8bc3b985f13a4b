"""The change set: effects staged by model or rule, reviewed as one, committed whole or not at all."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from jsonschema import Draft202012Validator

from runtime.conductor.branch import current
from runtime.conductor.journal import fingerprint
from runtime.conductor.scope import Done, Scope
from runtime.contract.values import Receipt, Ref, Staged, record
from runtime.gate.call import Approval, ToolCall
from runtime.gate.errors import Suspended
from store.records.canonical import Json
from store.records.errors import Denied, SettingsError, ToolFailed
from store.records.kinds import Kind


@dataclass
class ChangeSet:
    """The uncommitted effects of one run."""

    scope: Scope
    effects: list[Staged]
    reviewed: bool = False

    def stage(self, tool: str, arguments: dict[str, Any], by: Literal["model", "rule"]) -> Staged:
        """Add an effect. Raises SettingsError for a read and for arguments that do not fit the tool's schema."""
        known = self.scope.tool(tool)
        if known.local_read:
            raise SettingsError("a local read is called, not staged", tool, "use run.call")
        plain = {name: _plain(value) for name, value in arguments.items()}
        if not any(isinstance(value, Ref) for value in arguments.values()):
            check(known.input_schema, plain, tool)
        path = current.get().next()
        mark = fingerprint("stage", tool, plain)
        if not self.scope.journal.was_staged(path, mark, f"stage {tool}"):
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
        if not self.scope.journal.was_staged(path, mark, "discard"):
            payload = {"kind": "discard", "steps": [staged.step for staged in self.effects]}
            self.scope.services.recorder.append(
                self.scope.draft(Kind.CHANGE_SET_DISCARDED, path, fingerprint=mark), payload
            )
        self.effects.clear()
        self.reviewed = False

    async def commit(self) -> list[Receipt]:
        """Decide on every effect, collect every approval, then do each effect in turn."""
        if not self.reviewed:
            raise Denied("the change set was not reviewed", self.scope.run, "call run.review() before run.commit()")
        plain = [[staged.step, staged.tool, _plain(staged.arguments)] for staged in self.effects]

        async def live(path: str) -> Done:
            calls = [self._call(f"{path}.{index}", staged) for index, staged in enumerate(self.effects, 1)]
            approvals = await self._approvals(calls)
            receipts: list[Receipt] = []
            for call, staged, approval in zip(calls, self.effects, approvals, strict=True):
                arguments = _filled(staged.arguments, receipts)
                check(call.record.input_schema, arguments, call.record.name)
                receipts.append(await self._effect(replace(call, arguments=arguments, approval=approval), staged))
            return Done([[each.step, each.tool, each.key, each.result] for each in receipts])

        try:
            value = await self.scope.step("commit", "", plain, live)
        finally:
            self.effects.clear()
            self.reviewed = False
        return [Receipt(step, tool, key, record(result)) for step, tool, key, result in value]

    def _call(self, path: str, staged: Staged) -> ToolCall:
        call = self.scope.call(path, self.scope.tool(staged.tool), _plain(staged.arguments), staged.by)
        return replace(call, key=f"{self.scope.run}/{path}", reviewed=self.reviewed)

    async def _approvals(self, calls: list[ToolCall]) -> list[Approval | None]:
        """Policy's word on the whole set first; then a person's on each call that policy suspends."""
        held: list[Suspended | None] = []
        denials: list[Denied] = []
        for call in calls:
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
        if "$ref" in str(call.arguments):
            raise Denied("an effect that needs an approval cannot use another's result", call.record.name)
        view = _view(suspended)
        known = self.scope.journal.approvals.get(view["approval"])
        if known:
            approver, yes = known[:2]
        else:
            announce = partial(self._announce, call, suspended.binding, view)
            approver, yes = await services.approver.wait(view["approval"], view, announce)
        if not yes:
            raise Denied(f"{approver} denied {call.record.name}", f"approval {view['approval']}")
        return Approval(suspended.binding, approver)

    async def _announce(self, call: ToolCall, binding: str, view: dict[str, Any]) -> None:
        """Put the request on disk, once."""
        if view["approval"] in self.scope.journal.requested:
            return
        draft = self.scope.draft(
            Kind.APPROVAL_REQUESTED,
            call.step,
            tool=call.record.name,
            tool_digest=call.record.digest,
            policy_digest=self.scope.services.policy_digest,
            fingerprint=binding,
            labels=call.labels,
        )
        await self.scope.durable(draft, view)

    async def _effect(self, call: ToolCall, staged: Staged) -> Receipt:
        """One effect, exactly once: its recorded outcome, or the gate's, which settles an intent left open."""
        past = self.scope.journal.effects.get(call.step, [])
        outcome = next(((event, payload) for event, payload in past if event.kind == Kind.EFFECT_OUTCOME), None)
        if outcome is None:
            result = await self.scope.services.gate.call(call)
            self.scope.absorb(result.labels)
            value, error = result.value, result.error
        else:
            self.scope.absorb(outcome[0].labels)
            value, error = outcome[1]["value"], outcome[0].decision == "error"
        if error:
            raise ToolFailed("the tool refused the effect", f"{call.record.name}, step {call.step}")
        return Receipt(staged.step, staged.tool, call.key, value)


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
    problem = next(iter(Draft202012Validator(schema).iter_errors(arguments)), None)
    if problem is not None:
        place = "/".join(str(part) for part in problem.absolute_path) or "the arguments"
        raise SettingsError(f"{place} does not fit the tool's schema ({problem.validator})", tool)


def _plain(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"$ref": [value.step, value.field]}
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value


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

"""The change set: effects staged by model or rule, reviewed as one, committed whole or not at all."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from runtime.conductor.arguments import check, references, written_out
from runtime.conductor.branch import current
from runtime.conductor.commit import Commit
from runtime.conductor.done import Done
from runtime.conductor.journal import COMMIT, fingerprint
from runtime.conductor.scope import Scope
from runtime.contract.values import Receipt, Ref, Staged, record
from runtime.gate.call import is_reference
from store.records.errors import Denied, SettingsError
from store.records.kinds import Kind
from tools.record import ToolRecord

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
        self.scope.check_parked()
        known = self.scope.tool(tool)
        if known.local_read:
            raise SettingsError("a local read is called, not staged", tool, "use run.call")
        self._check_references(known, arguments)
        plain = written_out(arguments)
        if not references(arguments):
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
        self.scope.check_parked()
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
        plain = [[staged.step, staged.tool, written_out(staged.arguments)] for staged in effects]

        async def live(path: str) -> Done:
            with self.scope.clock.stopped():
                receipts = await Commit(self.scope, path, effects).receipts()
            return Done([[each.step, each.tool, each.key, each.result] for each in receipts])

        value = await self.scope.step(COMMIT, "", plain, live)
        return [Receipt(step, tool, key, record(result)) for step, tool, key, result in value]

    def _check_references(self, tool: ToolRecord, arguments: dict[str, Any]) -> None:
        """Raise SettingsError for a reference that could not be filled in at commit, when effects have happened, or
        that would decide what is touched: policy and person judge a change set before any of it is done.
        """
        known = {staged.step for staged in self.effects}
        for ref in references(arguments):
            if ref.step not in known:
                raise SettingsError("a reference to an effect that is not staged before this one", tool.name)
        for name in (*tool.consequential, tool.target):
            if isinstance(arguments.get(name), Ref):
                raise SettingsError(f"{name} decides what is touched and cannot be another's result", tool.name)
        if any(is_reference(value) for value in arguments.values()):
            raise SettingsError("an argument looks like a reference", tool.name, "use staged.ref(...)")

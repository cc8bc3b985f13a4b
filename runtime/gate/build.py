"""The gate, put together: Labelled(Governed(Approved(Budgeted(Effectful(host)))))."""

from collections.abc import Iterable, Sequence

from runtime.gate.approved import Approved, Knows
from runtime.gate.budgeted import Budgeted
from runtime.gate.budgets import Budgets
from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.decision import Judge
from runtime.gate.effectful import PATIENCE_S, Effectful
from runtime.gate.governed import Governed
from runtime.gate.host import Host
from runtime.gate.labelled import Labelled
from runtime.gate.recorder import Recorder
from store.records.errors import SettingsError
from store.records.event import Event
from tools.record import ToolRecord


class Gatehouse(Gate):
    """The whole gate, and the parts of it that the conductor needs besides."""

    def __init__(
        self, labelled: Labelled, governed: Governed, approved: Approved, budgets: Budgets, effects: Effectful
    ) -> None:
        self._labelled = labelled
        self._governed = governed
        self._approved = approved
        self.budgets = budgets
        self.effects = effects

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. An effect of an earlier life that has an intent and no outcome is settled by calling it
        again, with the same run, step and key: it passes the same wrappers."""
        return await self._labelled.call(call)

    def judge(self, call: ToolCall) -> ToolCall:
        """All that can be said about a call without making it: labels, policy and approval. Makes no call, spends
        nothing, records its rulings. Raises Denied, or Suspended if a person must answer first.

        For a change set, which is committed whole or not at all: judge every effect before the first is made.
        """
        self._labelled.check(call)
        judged = self._governed.judge(call)
        self._approved.check(judged)
        return judged

    def replay(self, events: Sequence[Event]) -> None:
        """Learn from the ledger, at start, what was used and which effects are open. Events in order."""
        self.budgets.replay(events)
        self.effects.replay(events)

    def forget(self, run: str) -> None:
        """Drop what is kept for a run that has ended."""
        self.budgets.forget(run)
        self.effects.forget(run)


def build(
    *,
    judge: Judge,
    budgets: Budgets,
    host: Host,
    recorder: Recorder,
    records: Iterable[ToolRecord],
    knows: Knows,
    epoch: int,
    patience_s: tuple[float, ...] = PATIENCE_S,
) -> Gatehouse:
    """The gate over these tools. `knows` says whether a name is an approver's; `epoch` is the core's own.

    Raises SettingsError if a tool is to be reconciled by something that is no local read, or without a key.
    """
    tools = {record.name: record for record in records}
    for record in tools.values():
        _check_reconcile(record, tools)
    effects = Effectful(host, recorder, judge, tools, epoch, patience_s)
    approved = Approved(Budgeted(effects, budgets), judge, knows, recorder)
    governed = Governed(approved, judge, recorder)
    return Gatehouse(Labelled(governed, recorder), governed, approved, budgets, effects)


def _check_reconcile(record: ToolRecord, tools: dict[str, ToolRecord]) -> None:
    """Asking what became of an effect passes no policy of its own, so it must not be able to do anything."""
    if not record.reconcile:
        return
    asked = tools.get(record.reconcile)
    if asked is None:
        raise SettingsError(f"no tool is called {record.reconcile}", f"reconcile of {record.name}", "correct the name")
    if not asked.local_read:
        what = f"{asked.name} is no local read, and only such a tool may be asked without a decision"
        raise SettingsError(what, f"reconcile of {record.name}", "classify it as one, or name another")
    if not record.key_argument:
        what = f"{record.name} takes no idempotency key, so nobody can be asked what became of it"
        raise SettingsError(what, f"reconcile of {record.name}", "name its key_argument")

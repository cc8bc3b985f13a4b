"""The gate, put together: Labelled(Governed(Approved(Budgeted(Effectful(host)))))."""

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.gate.approved import Approved, Knows
from runtime.gate.budgeted import Budgeted
from runtime.gate.budgets import Budgets
from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.decision import Judge
from runtime.gate.effectful import PATIENCE_S, Effectful
from runtime.gate.governed import Governed
from runtime.gate.halt import Halt
from runtime.gate.host import Host
from runtime.gate.labelled import Labelled
from runtime.gate.recorder import Recorder
from store.records.event import Event
from store.records.kinds import Kind
from tools.record import ToolRecord
from tools.references import check_references


@dataclass(frozen=True)
class Gatehouse(Gate):
    """The whole gate, and those of its parts that the conductor needs besides."""

    policy: Judge
    labelled: Labelled
    governed: Governed
    approved: Approved
    budgets: Budgets
    effects: Effectful
    halt: Halt

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. An effect of an earlier life that has an intent and no outcome is settled by calling it
        again, with the same run, step and key: it passes the same wrappers."""
        return await self.labelled.call(call)

    def judge(self, call: ToolCall) -> ToolCall:
        """All that can be said about a call without making it: labels, policy and approval. Spends nothing and
        records its rulings. Raises Denied, or Suspended if a person must answer first.

        For a change set, which is committed whole or not at all: judge every effect before the first is made.
        """
        self.labelled.check(call)
        return self.approved.check(self.governed.judge(call))

    def replay(self, events: Iterable[Event]) -> None:
        """Learn from the ledger, at start and in order, what was used and which effects are open."""
        for event in events:
            self.budgets.replay((event,))
            self.effects.replay((event,))
            self.halt.replay((event,))
            if event.kind == Kind.RUN_ENDED:
                self.forget(event.run)

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

    Raises SettingsError for tools that contradict each other, as tools.references says.
    """
    tools = {record.name: record for record in records}
    check_references(tools)
    halt = Halt()
    effects = Effectful(host, recorder, judge, tools, epoch, patience_s, halt)
    approved = Approved(Budgeted(effects, budgets), judge, knows, recorder)
    governed = Governed(approved, judge, recorder)
    return Gatehouse(judge, Labelled(governed, recorder), governed, approved, budgets, effects, halt)

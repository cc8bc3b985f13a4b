"""The gate, put together: Labelled(Planned(Governed(Approved(Budgeted(Effectful(host))))))."""

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.gate.ages import Ages
from runtime.gate.approved import Approved
from runtime.gate.budgeted import Budgeted
from runtime.gate.budgets import Budgets
from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.decision import Judge
from runtime.gate.effectful import PATIENCE_S, Effectful
from runtime.gate.governed import Governed
from runtime.gate.grants import Grants
from runtime.gate.halt import Halt
from runtime.gate.host import Host
from runtime.gate.labelled import Labelled
from runtime.gate.people import Knows, People
from runtime.gate.planned import Planned
from runtime.gate.provenance.directory import NOBODY, Directories
from runtime.gate.rates import FREE, Rates
from runtime.gate.recorder import Recorder
from store.records.event import Event
from tools.record import ToolRecord
from tools.references import check_references


@dataclass(frozen=True)
class Gatehouse(Gate):
    """The whole gate, and those of its parts that the conductor needs besides."""

    policy: Judge
    labelled: Labelled
    planned: Planned
    governed: Governed
    approved: Approved
    people: People
    grants: Grants
    budgeted: Budgeted
    budgets: Budgets
    effects: Effectful
    halt: Halt

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. An effect of an earlier life that has an intent and no outcome is settled by calling it
        again, with the same run, step and key: it passes the same wrappers."""
        return await self.labelled.call(call)

    def judge(self, call: ToolCall) -> ToolCall:
        """All that can be said about a call without making it: labels, plan, policy and approval. Spends nothing and
        records its rulings. Raises Denied, or Suspended if a person must answer first.

        For a change set, which is committed whole or not at all: judge every effect before the first is made.
        """
        return self.approved.check(self.governed.judge(self.planned.check(self.labelled.check(call))))

    def replay(self, events: Iterable[Event]) -> None:
        """Learn from the ledger, at start and in order, which effects are open and whether they are halted."""
        for event in events:
            self.effects.replay((event,))
            self.halt.replay((event,))

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
    sole: str = "",
    ages: Ages | None = None,
    patience_s: tuple[float, ...] = PATIENCE_S,
    rates: Rates = FREE,
    directories: Directories = NOBODY,
) -> Gatehouse:
    """The gate over these tools. `knows` says whether a name is that of an approver of a tenant, `sole` is the only
    user's in personal mode; `epoch` is the core's own, and `ages` knows by how much the clock was set back before it
    (None: never); `rates` say what a call costs, `directories` what the names in users' words stand for.

    Raises SettingsError for tools that contradict each other, as tools.references says.
    """
    tools = {record.name: record for record in records}
    check_references(tools)
    halt = Halt()
    effects = Effectful(host, recorder, tools, epoch, patience_s, halt)
    people, grants = People(knows, sole), Grants(judge, ages or Ages(epoch, "", ()))
    budgeted = Budgeted(effects, budgets, rates, recorder)
    approved = Approved(budgeted, judge, people, grants, recorder)
    governed = Governed(approved, judge, recorder)
    planned = Planned(governed, recorder)
    labelled = Labelled(planned, recorder, directories)
    return Gatehouse(judge, labelled, planned, governed, approved, people, grants, budgeted, budgets, effects, halt)

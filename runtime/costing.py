"""Costs: what tasks cost, for those who ask, and an alert when those of a workflow cost more than it expects.

An alert is an event, and so is its end: what is raised is known after a restart, and is not raised twice.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from runtime.contract.workflow import Workflow
from runtime.gateway.messages import AlertView, CostKey, CostView
from runtime.reading import Reach
from store.ledger.costs import costs, newest_cost
from store.ledger.ledger import Ledger
from store.ledger.reader import EVERYTHING
from store.records.errors import SettingsError
from store.records.event import Draft, Event
from store.records.kinds import Kind
from store.records.usage import Cost

NEWEST = 20
"""Successful tasks whose mean is compared with what the workflow expects."""
RAISED, CLEARED = "raised", "cleared"


class CostWatch:
    """Compares what a workflow's newest tasks cost with what it expects, each time one has ended."""

    def __init__(self, ledger: Ledger, workflows: Mapping[str, Workflow], factor: float) -> None:
        """`factor` says how many times its expected cost a task may cost on average."""
        self._ledger = ledger
        self._expected = {name: each for name, each in workflows.items() if each.expected_cost}
        self._factor = factor
        self._raised = {(each.tenant, each.workflow) for each in raised(ledger)}
        self._looking: set[asyncio.Task[None]] = set()

    def ended(self, run: str) -> None:
        """A run has ended, and that is on disk. Returns at once."""
        if self._expected and "-" not in run:
            task = asyncio.get_running_loop().create_task(self._look(run), name=f"cost of {run}")
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def close(self) -> None:
        """Return once all that has ended was looked at."""
        while self._looking:
            await asyncio.wait(self._looking)

    async def _look(self, run: str) -> None:
        row = await asyncio.to_thread(self._ledger.find_run, run)
        workflow = self._expected.get(row.workflow)
        if workflow is None:
            return
        count, micros = await asyncio.to_thread(newest_cost, self._ledger.reader, row.tenant, row.workflow, NEWEST)
        place = row.tenant, row.workflow
        over = micros > self._factor * workflow.expected_cost * count
        if over != (place in self._raised):
            (self._raised.add if over else self._raised.discard)(place)
            self._tell(row.tenant, workflow, micros // max(count, 1), count, RAISED if over else CLEARED)

    def _tell(self, tenant: str, workflow: Workflow, mean: int, count: int, decision: str) -> None:
        """The numbers are in the event itself, in a field that no sum of costs reads."""
        from runtime.conductor.scope import CORE_VERSION  # late: asking what something cost needs no conductor

        draft = Draft(
            kind=Kind.COST_ALERT,
            tenant=tenant,
            actor="core",
            actor_version=CORE_VERSION,
            workflow=workflow.name,
            workflow_version=workflow.version,
            decision=decision,
            step=f"{mean} {workflow.expected_cost} {count}",
        )
        self._ledger.append(draft)


def raised(ledger: Ledger, tenant: str | None = None) -> list[Event]:
    """The alerts that have not been cleared, of one tenant or of all."""
    newest: dict[tuple[str, str], Event] = {}
    for event in ledger.events(kinds=[Kind.COST_ALERT], limit=EVERYTHING, tenant=tenant):
        newest[event.tenant, event.workflow] = event
    return [event for event in newest.values() if event.decision == RAISED]


def alert_view(event: Event) -> AlertView:
    """An alert as people see it."""
    mean, expected, runs = map(int, event.step.split())
    return AlertView(
        tenant=event.tenant,
        workflow=event.workflow,
        since=event.time,
        mean_micros=mean,
        expected_micros=expected,
        runs=runs,
    )


def cost_views(ledger: Ledger, reach: Reach, by: CostKey, since: str, until: str) -> list[CostView]:
    """As Queries.costs, without the names of models."""
    found = costs(ledger.reader, by, _time(since), _time(until), reach.tenant)
    return [_view(each) for each in found]


def _view(cost: Cost) -> CostView:
    each = -(-cost.cost_micros // cost.successful) if cost.successful else None
    return CostView(
        tenant=cost.tenant,
        key=cost.key,
        runs=cost.runs,
        successful=cost.successful,
        calls=cost.calls,
        tokens=cost.tokens,
        device_ms=cost.device_ms,
        cost_micros=cost.cost_micros,
        micros_per_success=each,
    )


def _time(text: str) -> datetime | None:
    """A time with its zone; None for an empty text. Raises SettingsError if it is none."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise SettingsError(f"{text[:40]!r} is no time with a zone", do="write it as in 2026-11-01T00:00:00+00:00")
    return time

"""`run.plan`: a plan is frozen, carried out, reviewed and committed, with nothing of the workflow's own in between.

So what the effects of a plan follow from is the plan and its variables, and no `if` over what was read.
"""

from collections.abc import Mapping
from typing import Any

from runtime.conductor.branch import current, within
from runtime.conductor.changes import staged_here
from runtime.conductor.parking import PARKS
from runtime.conductor.plans.execution import Execution
from runtime.conductor.plans.planner import Order, Planner
from runtime.conductor.thinking import Thinking
from runtime.contract.run import Run
from runtime.contract.values import Planned, record
from runtime.gate.plan import Value
from store.records.canonical import Json, canonical, parse
from store.records.errors import BailiwickError, SettingsError


async def carry_out(run: Run, thinking: Thinking, order: Order) -> Planned:
    """What the plan comes to, on a branch of its own. What it had staged when it failed is thrown away.

    Raises SettingsError if something is staged already: it would be reviewed and committed with what the plan stages.
    """
    if staged_here.get().effects:
        raise SettingsError("a plan commits its own effects, and others are staged", run.id, "commit or discard them")
    return await within(current.get().next(), lambda: _carried_out(run, thinking, order))


async def _carried_out(run: Run, thinking: Thinking, order: Order) -> Planned:
    changes, labels = staged_here.get(), thinking.scope.labels
    plan = await Planner(thinking, order).frozen()
    bound = {name: Value(value, labels) for name, value in order.data.items()}
    execution = Execution(thinking, plan, order.readers, bound)
    try:
        values = await execution.run()
        receipts = []
        if changes.effects:
            await run.review()
            receipts = await run.commit()
    except PARKS:
        raise
    except BailiwickError:
        changes.discard()
        raise
    return Planned(plan.digest, record(values), tuple(receipts))


def plain(given: Mapping[str, Any]) -> dict[str, Json]:
    """Constants or data of a workflow, as they go on record. Raises SettingsError if they are not plain JSON."""
    try:
        found: dict[str, Json] = parse(canonical(dict(given)))
    except (ValueError, TypeError, RecursionError):
        raise SettingsError("the constants and the data of a plan must be plain JSON") from None
    return found

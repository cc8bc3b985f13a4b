"""A loop with a durable sleep and a limit: read a pressure until it has settled, then open the valve.

The pauses are on record: a runtime that is down for a while neither begins one anew nor forgets how long it has waited.
The limit holds for all readings and pauses together. What the model is asked, a person is asked if it cannot say.

    bailiwick run "Open vessel-7 once its pressure has settled." --workflow settle-pressure \
        --workflows examples/settle_pressure.py --tools examples/tools.toml
"""

from math import inf

from pydantic import BaseModel

from bailiwick import ByModel, Run, Timeout, workflow

PAUSE_S = 30.0
LIMIT_S = 3600.0
SETTLED_BAR = 0.05


class Wanted(BaseModel):
    """What the model is asked for."""

    vessel: str


async def tell_operator(run: Run) -> str:
    """The fallback: the task goes to a person as it is."""
    return await told(run, run.task)


@workflow(
    "settle-pressure",
    fallback=tell_operator,
    tools=("site.read_pressure", "site.open_valve", "site.tell_operator"),
    by_model=(ByModel("ask", "which vessel it is about"),),
)
async def settle_pressure(run: Run) -> str:
    """Wait until the pressure of a vessel has settled, then open its valve."""
    vessel = (await run.ask(Wanted, "Which vessel is it about?")).vessel
    try:
        bar = await run.limit(LIMIT_S, lambda: settled(run, vessel))
    except Timeout:
        return await told(run, f"the pressure of {vessel} does not settle")
    run.stage("site.open_valve", vessel=vessel)
    await run.review()
    await run.commit()
    return f"{vessel} has settled at {bar:g} bar and is open"


async def settled(run: Run, vessel: str) -> float:
    """The pressure in bar, once two readings in a row agree."""
    before = inf
    while True:
        bar: float = (await run.call("site.read_pressure", vessel=vessel)).bar
        if abs(bar - before) < SETTLED_BAR:
            return bar
        before = bar
        await run.sleep(PAUSE_S)


async def told(run: Run, message: str) -> str:
    """Tell the operator."""
    run.stage("site.tell_operator", message=message)
    await run.review()
    await run.commit()
    return f"the operator was told: {message}"

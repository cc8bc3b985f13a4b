"""The workflows of the fleet, as a site would write them: one for each kind of tool.

Each stages two effects that carry the run's own reference, so that whoever counts them needs no key of the runtime's.
"""

from pydantic import BaseModel

from bailiwick import Run, workflow

TOOLS = ("book.keyed", "book.asked", "book.blind", "book.times")


class Order(BaseModel):
    """What a run is given. `thinks`: it asks the model before it does anything."""

    thinks: bool = False


class Urgency(BaseModel):
    """What the model is asked for."""

    urgent: bool


async def deliver(run: Run, tool: str) -> int:
    """Two effects, reviewed and committed; how often the last is in the book."""
    await run.now()
    for number in (1, 2):
        run.stage(tool, reference=f"{run.id}/{number}")
    await run.review()
    await run.commit()
    return int((await run.call("book.times", reference=f"{run.id}/2")).times)


async def think(run: Run, order: Order) -> None:
    """A question to the model; the answer is recorded and decides nothing."""
    if order.thinks:
        await run.ask(Urgency, "Is the parcel urgent?")


async def keyed_by_rule(run: Run) -> int:
    """The fallback of `keyed`."""
    return await deliver(run, "book.keyed")


async def asked_by_rule(run: Run) -> int:
    """The fallback of `asked`."""
    return await deliver(run, "book.asked")


async def blind_by_rule(run: Run) -> int:
    """The fallback of `blind`."""
    return await deliver(run, "book.blind")


@workflow("keyed", fallback=keyed_by_rule, tools=TOOLS)
async def keyed(run: Run, order: Order) -> int:
    """Record a parcel by a tool that heeds its key."""
    await think(run, order)
    return await deliver(run, "book.keyed")


@workflow("asked", fallback=asked_by_rule, tools=TOOLS)
async def asked(run: Run, order: Order) -> int:
    """Record a parcel by a tool that can be asked about its key."""
    await think(run, order)
    return await deliver(run, "book.asked")


@workflow("blind", fallback=blind_by_rule, tools=TOOLS)
async def blind(run: Run, order: Order) -> int:
    """Record a parcel by a tool that takes no key."""
    await think(run, order)
    return await deliver(run, "book.blind")

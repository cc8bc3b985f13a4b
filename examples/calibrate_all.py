"""A child run for each of several items, with their failures collected: calibrate every instrument of a laboratory.

Each child is a run of its own, with its own change set and its own line in `bailiwick runs list`. One that fails does
not break off the others; a ticket names those that failed.

    bailiwick run "Calibrate the laboratory." --workflow calibrate-all \
        --workflows examples/calibrate_all.py --tools examples/tools.toml
"""

from functools import partial

from pydantic import BaseModel

from bailiwick import ChildFailed, Run, ToolFailed, workflow

MOST_PPM = 50


class Instrument(BaseModel):
    """What a child is given."""

    name: str


class Calibrated(BaseModel):
    """What became of the instruments, by name."""

    done: list[str]
    failed: list[str]


@workflow("calibrate", tools=("site.calibrate",), by_model=())
async def calibrate(run: Run, instrument: Instrument) -> int:
    """Calibrate one instrument; its deviation in ppm."""
    run.stage("site.calibrate", instrument=instrument.name)
    await run.review()
    [receipt] = await run.commit()
    ppm: int = receipt.result.ppm
    if ppm > MOST_PPM:
        raise ToolFailed(f"it deviates by {ppm} ppm", instrument.name, "have it repaired")
    return ppm


@workflow("calibrate-all", tools=("site.list_instruments", "site.calibrate", "site.open_ticket"), by_model=())
async def calibrate_all(run: Run) -> Calibrated:
    """Calibrate every instrument, and open a ticket for those that could not be."""
    names = (await run.call("site.list_instruments")).names
    fine = await run.gather(*(partial(succeeds, run, name) for name in names))
    done = [name for name, each in zip(names, fine, strict=True) if each]
    failed = [name for name in names if name not in done]
    if failed:
        run.stage("site.open_ticket", title=f"not calibrated: {', '.join(failed)}")
        await run.review()
        await run.commit()
    return Calibrated(done=done, failed=failed)


async def succeeds(run: Run, name: str) -> bool:
    """Whether the child for one instrument gets there."""
    try:
        await run.child("calibrate", f"Calibrate {name}.", Instrument(name=name))
    except ChildFailed:
        return False
    return True

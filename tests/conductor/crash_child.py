"""One life of a core for test_replay.py: a run with two effects, or the death at the second visit of a named point.

Arguments: data folder, crash point and visit ("name:2"), or "-" to resume and end whatever is open.
"""

import asyncio
import sys
from pathlib import Path

from conftest import Scripted, Site, a_life

from runtime import crashpoints
from runtime.contract.run import Run
from runtime.contract.workflow import workflow


@workflow("two-effects")
async def two_effects(run: Run) -> str:
    """Restart, then tell."""
    run.stage("ops.restart_service", service="orders")
    run.stage("ops.open_ticket", title=await run.uuid())
    await run.review()
    await run.commit()
    return "both"


async def main(folder: Path, point: str) -> None:
    """Live, and print what came of the run."""
    async with a_life(Site(folder), Scripted(), two_effects) as life:
        if point == "-":
            (run,) = await life.core.resume()
        else:
            name, _, visit = point.partition(":")
            crashpoints.arm(name, int(visit))
            run = await life.submit("two-effects")
        view = await life.finish(run)
        print(view.status, view.outcome)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))

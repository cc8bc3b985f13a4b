"""A runtime that is to die: `python -m runtime.redteam.victim GIVEN STEP`, both JSON.

One step of a case, on a site whose folder outlives it, in a process that is killed at the point that the step names.
"""

import asyncio
import json
import sys
from pathlib import Path

from runtime.redteam.acts import Acts, arm
from runtime.redteam.case import RunStep, chosen, load
from runtime.redteam.scene import Scene


async def main(given: str, step: str) -> None:
    """Take the step, and never come back from it."""
    what, taken = json.loads(given), RunStep.model_validate_json(step)
    [case] = chosen(load(), what["case"])
    scene = Scene(Path(what["folder"]), case.site, what["without"], patient=True)
    scene.begin(case)
    await scene.open()
    arm(taken)
    await Acts(scene, case.name).take(taken.model_copy(update={"until": "end"}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

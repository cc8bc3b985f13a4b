"""Our side's site: the real core over a folder, with ledger, gate and conductor, and no agents, tools or memory.

It is the `Core` that the runtime's actor wraps, in this process. Nothing here may know how the core does its work.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runtime.contract.workflow import Workflow
from runtime.core import Core, World
from runtime.settings import Settings
from tools.host import ToolHost


def core(folder: Path, workflow: Workflow) -> Core:
    """A core on the folder, which the caller closes."""
    nobody: Any = None  # the workflows of this benchmark ask no agent and no memory
    world = World(host=ToolHost(), records={}, agents=nobody, memory=nobody, workflows={workflow.name: workflow})
    return Core(folder, Settings(data_dir=folder), world)


@asynccontextmanager
async def opened(folder: Path, workflow: Workflow) -> AsyncIterator[Core]:
    """A core on the folder, ended in order."""
    life = core(folder, workflow)
    try:
        yield life
    finally:
        await life.close()

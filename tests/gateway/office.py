"""A service but for Ray and models: core, gate under `strict`, tools and gateway, held by a system user of its own.

    office.py FOLDER UID GID

Becomes that user, if it is root, and ends when its standard input does. `FOLDER/people.toml` is the directory; each
effect is a line in `FOLDER/world`. The reviewer says yes to everything.
"""

import asyncio
import codecs
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.request import Completion, Message
from runtime.actors.verbs import CoreVerbs
from runtime.agents.proposal import ModelCall, Proposal
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.core import Core, World
from runtime.desk import Desk  # before this user may read no library any more
from runtime.directory import file
from runtime.gateway.server import Gateway
from runtime.people import People
from runtime.settings import Settings
from store.records.identity import User
from tools.functions import FunctionToolset
from tools.host import ToolHost

SPENT = Completion("", "end", "toy", "m" * 64, "p" * 64, "g" * 64, 0, "greedy", 9, 0, 1, 1, 0, 5, (1, 2))


async def wipe(run: Run) -> str:
    """Delete what the task names."""
    run.stage("disk.wipe", what=run.task)
    await run.review()
    await run.commit()
    return "wiped"


class Agents:
    """A reviewer that always says yes."""

    async def review(self, _context: Any) -> Proposal:
        call = ModelCall((Message("user", "review"),), SPENT)
        return Proposal({"verdict": "approve", "reason": "fine"}, (call,), 1.0, None)


@dataclass
class Here:
    """A core in this very process, for the verbs, as they find one in an actor's."""

    held: Core

    @property
    def people(self) -> People:
        """As Kernel.people."""
        return self.held.people

    async def core(self) -> Any:
        """As Kernel.core."""
        return self

    async def call(self, method: str, *arguments: Any) -> Any:
        """As CoreHandle.call."""
        return await getattr(self.held, method)(*arguments)

    async def ask(self, user: User, method: str, *arguments: Any) -> Any:
        """As CoreHandle.ask."""
        return await getattr(Desk(self.held, user), method)(*arguments)


def disk(world: Path) -> FunctionToolset:
    """One tool, whose effect cannot be undone."""
    tools = FunctionToolset("disk")

    @tools.tool(egress=False, irreversible=True, key_argument="key")
    def wipe(what: str, key: str) -> dict[str, str]:
        with world.open("a") as lines:
            lines.write(f"{what}\n")
        return {"wiped": what}

    return tools


async def main() -> None:
    folder, uid, gid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o022)
    host = ToolHost()
    await host.open([], [disk(folder / "world")])
    settings = Settings(data_dir=folder / "data", directory=folder / "people.toml", service_user="keeper")
    flows = {"wipe": Workflow("wipe", 1, wipe, None, (), by_model=())}
    unused: Any = None
    agents: Any = Agents()
    core = Core(settings.data_dir, settings, World(host, host.records(), agents, unused, flows))
    kernel: Any = Here(core)
    gateway = Gateway(
        folder / "run" / "gateway.sock",
        lambda user: CoreVerbs(kernel, user),
        set,
        identify=core.people.of_uid,
        service=True,
    )
    await gateway.start()
    print("up", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await gateway.close()
    await core.close()
    await host.close()


assert file
codecs.lookup("utf-16be")
asyncio.run(main())

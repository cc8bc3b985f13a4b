"""The core's actor: the trusted kernel in a process of its own.

It is never restarted by Ray. Its supervisor starts a new one, which takes the next epoch and resumes what is open.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import crashpoints
from runtime.actors.agents import AgentHandles
from runtime.actors.call import actor, check_secret, once
from runtime.actors.model_server import ModelHandle
from runtime.actors.tool_host import HostHandle
from runtime.gate.inventory import Inventory
from runtime.settings import Settings
from store.records.errors import Unreachable
from store.records.identity import User

if TYPE_CHECKING:
    from runtime.core import Core


@dataclass(frozen=True)
class CoreSpec:
    """Everything a core is started with; the same for each of its epochs but for `crash_at`.

    `schedules` fire only if told: a runtime that is there for one command would break off what they begin. `again` is
    said to every core of a runtime but its first.
    """

    folder: Path
    settings: Settings
    agents: AgentHandles
    host: HostHandle
    model: ModelHandle
    inventory: Inventory = field(default_factory=Inventory)
    schedules: bool = False
    crash_at: str = ""
    again: bool = False


@actor(num_cpus=0, max_restarts=0, max_concurrency=512)
class CoreActor:
    """A Core and its life. Only who has the runtime's `secret` may use it: its methods take a user at their word."""

    def __init__(self, secret: bytes) -> None:
        os.umask(0o077)
        self._secret = secret
        self._core: Core | None = None

    async def start(self, secret: bytes, spec: CoreSpec, resume: bool) -> int:
        """Open the ledger, build the gate, resume if asked; returns the epoch."""
        check_secret(secret, self._secret, "core")
        # Imported here: the driver, which imports this module too, has no use for DuckDB, LanceDB and Cedar.
        from runtime.conductor.memory import LedgerMemory
        from runtime.core import Core, World
        from runtime.workflows.catalog import load
        from store.keys.memos import MEMORY

        if spec.crash_at:
            crashpoints.arm(spec.crash_at)
        await spec.model.warm()
        loads = spec.model.loads()
        memory = LedgerMemory.open(spec.folder / MEMORY, spec.model)
        world = World(
            host=spec.host,
            records=await spec.host.records(),
            agents=spec.agents,
            memory=memory,
            memos=memory.memos,
            workflows=load(spec.settings.workflows),
            inventory=spec.inventory,
            models=await anext(loads),
            again=spec.again,
        )
        self._core = Core(spec.folder, spec.settings, world)
        self._core.hear(loads)
        if resume:
            await self._core.resume()
        if spec.schedules:
            self._core.schedules.start()
        return self._core.ledger.epoch

    async def pid(self) -> int:
        return os.getpid()

    async def call(self, secret: bytes, method: str, arguments: Sequence[Any]) -> Any:
        """One of the Core's methods, by name."""
        check_secret(secret, self._secret, "core")
        if self._core is None or method.startswith("_"):
            raise Unreachable("the core is not ready")
        return await getattr(self._core, method)(*arguments)

    async def ask(self, secret: bytes, user: User, method: str, arguments: Sequence[Any]) -> Any:
        """What a user reads: one of the methods of their Desk, by name."""
        check_secret(secret, self._secret, "core")
        if self._core is None or method.startswith("_"):
            raise Unreachable("the core is not ready")
        from runtime.desk import Desk

        return await getattr(Desk(self._core, user), method)(*arguments)

    async def epoch(self) -> tuple[int, int, int, int, str]:
        """The epoch, the number of events, of open runs and of those that are being driven or queued, and since when
        effects are halted (empty: they are not)."""
        if self._core is None:
            raise Unreachable("the core is not ready")
        ledger, conductor = self._core.ledger, self._core.conductor
        halt = conductor.services.gate.halt.event
        open_runs = await asyncio.to_thread(ledger.count_open)
        kept = len(conductor.tasks) + conductor.queues.count
        return ledger.epoch, ledger.last_seq(), open_runs, kept, halt.time if halt else ""


@dataclass(frozen=True)
class CoreHandle:
    """What the supervisor and its verbs hold of the core that is up."""

    actor: Any
    secret: bytes = field(repr=False)

    async def start(self, spec: CoreSpec, resume: bool) -> None:
        """As CoreActor.start."""
        await once(self.actor.start.remote(self.secret, spec, resume), "core")

    async def call(self, method: str, *arguments: Any) -> Any:
        """The result of one of the Core's methods. Raises what it raises, Unreachable if the core is dead."""
        return await once(self.actor.call.remote(self.secret, method, arguments), "core")

    async def ask(self, user: User, method: str, *arguments: Any) -> Any:
        """What a user reads. Raises as `call`."""
        return await once(self.actor.ask.remote(self.secret, user, method, arguments), "core")

    async def close(self) -> None:
        """End the core in order."""
        await self.call("close")

    async def epoch(self) -> tuple[int, int, int, int, str]:
        """As CoreActor.epoch."""
        counts: tuple[int, int, int, int, str] = await once(self.actor.epoch.remote(), "core")
        return counts

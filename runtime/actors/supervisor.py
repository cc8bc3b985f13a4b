"""The supervisor: starts the parts of one runtime, keeps them up, and opens the gateway in front of them.

It is the only Ray driver. Ray restarts model server, tool host and agents, which hold no state; a core that died is
replaced here by a new one, which takes the next epoch and resumes every open run.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray.exceptions import RayActorError

from runtime.actors.agents import ROLES, AgentActor, AgentHandles
from runtime.actors.call import once, spawn
from runtime.actors.core import CoreActor, CoreHandle, CoreSpec
from runtime.actors.model_server import MODEL_SERVER, ModelActor, ModelHandle
from runtime.actors.tool_host import HostHandle, ToolHostActor
from runtime.actors.verbs import CoreVerbs
from runtime.cluster.cluster import Cluster
from runtime.gate.inventory import Inventory
from runtime.gateway.messages import ModelView, StatusView
from runtime.gateway.server import Gateway
from runtime.settings import Settings
from store.records.errors import BailiwickError, Unreachable
from store.records.identity import User
from tools.catalog import Catalog

CORE_WAIT_S = 60.0
PAUSE_S = 0.5
MOST_DEATHS = 20
"""After so many deaths of the core, one soon after the other, the supervisor gives up: something kills it each time."""
STEADY_S = 60.0
"""A core that has lived so long did not die of what killed the one before it."""


@dataclass(frozen=True)
class Plan:
    """What a runtime is started with. One that is to stay up is to `resume`: open runs are driven, schedules fire."""

    settings: Settings
    models_folder: Path
    catalogs: Sequence[Catalog] = ()
    inventory: Inventory = field(default_factory=Inventory)
    resume: bool = False
    crash_at: str = ""


class Supervisor:
    """One runtime on one data folder. Use as an async context manager."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._settings = plan.settings
        self.people = plan.settings.people()
        self._secret = secrets.token_bytes(32)
        self._cluster: Cluster | None = None
        self._gateway: Gateway | None = None
        self._parts: dict[str, Any] = {}
        self._pids: dict[str, int] = {}
        self._watch: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._failure: BailiwickError | None = None

    async def __aenter__(self) -> "Supervisor":
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def socket(self) -> Path:
        """Where the gateway listens."""
        return self._settings.socket

    def verbs(self, user: User) -> CoreVerbs:
        """The verbs on behalf of a user."""
        return CoreVerbs(self, user)

    async def bearer(self, token: str) -> User:
        """The user who comes with a token, as they are now. Raises Denied."""
        core = await self.core()
        user: User = await core.call("bearer", token)
        return user

    async def core(self) -> CoreHandle:
        """The core that is up, once it is."""
        try:
            async with asyncio.timeout(CORE_WAIT_S):
                await self._ready.wait()
        except TimeoutError:
            raise Unreachable("the core does not come up", do="see `bailiwick doctor`") from None
        if self._failure is not None:
            raise self._failure
        return CoreHandle(self._parts["core"], self._secret)

    async def status(self) -> StatusView:
        """The state of the runtime, with the process id of every part."""
        core = await self.core()
        epoch, events, opened, kept, halted = await core.epoch()
        server = ModelHandle(self._parts["model"])
        counters = await server.stats()
        models = [ModelView(**each) for each in counters.pop("models")]
        parts = {name: self._pids.get(name, 0) for name in self._parts}
        return StatusView(
            pid=os.getpid(),
            epoch=epoch,
            events=events,
            open_runs=opened,
            idle_runs=max(0, opened - kept),
            halted=halted,
            parts=parts,
            model=next((each.name for each in models if each.kind == "chat"), ""),
            models=tuple(models),
            counters=counters,
        )

    def request_stop(self) -> None:
        """Ask for an orderly end; `stopped` returns then."""
        self._stop.set()

    async def stopped(self) -> None:
        """Wait until somebody asks for the end, or the core cannot be kept up. Raises its last error then."""
        await self._stop.wait()
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Stop everything that was started, in order; open runs stay open."""
        if self._gateway is not None:
            await self._gateway.close()
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for name, handle in (("core", CoreHandle), ("host", HostHandle)):
            if name in self._parts:
                with contextlib.suppress(BailiwickError, TimeoutError):
                    await asyncio.wait_for(handle(self._parts[name], self._secret).close(), 15)
        if self._cluster is not None:
            self._cluster.stop()

    async def _start(self) -> None:
        settings = self._settings
        self._cluster = Cluster.start(settings.runtime_dir)  # in the main thread, as it asks
        model = ModelHandle(spawn(ModelActor, self._plan.models_folder, settings, name=MODEL_SERVER))
        self._parts = {
            "model": model.actor,
            "host": spawn(ToolHostActor, tuple(self._plan.catalogs), settings.data_dir / "logs", self._secret),
        }
        self._parts |= {role: spawn(AgentActor, role) for role in ROLES}
        self._spec = CoreSpec(
            folder=settings.data_dir,
            settings=settings,
            agents=AgentHandles(*(self._parts[role] for role in ROLES)),
            host=HostHandle(self._parts["host"], self._secret),
            model=model,
            inventory=self._plan.inventory,
            schedules=self._plan.resume,
            crash_at=self._plan.crash_at,
        )
        await self._new_core(self._spec, self._plan.resume)
        self._watch = asyncio.create_task(self._keep_core(), name="keep core")
        self._gateway = Gateway(
            self.socket,
            self.verbs,
            self._host_pids,
            identify=self.people.of_uid,
            bearer=self.bearer,
            tcp=settings.tcp(),
            service=bool(settings.service_user),
        )
        await self._gateway.start()

    async def _new_core(self, spec: CoreSpec, resume: bool) -> None:
        core = spawn(CoreActor, self._secret)
        await CoreHandle(core, self._secret).start(spec, resume)
        self._parts["core"] = core
        await self._note_pids()
        self._ready.set()

    async def _keep_core(self) -> None:
        """Wait for the core's death and start the next, for ever."""
        deaths = 0
        while True:
            begun = time.monotonic()
            await self._death()
            self._ready.clear()
            deaths = 1 if time.monotonic() - begun >= STEADY_S else deaths + 1
            if deaths == MOST_DEATHS:
                break
            try:
                await self._new_core(replace(self._spec, crash_at="", again=True), resume=True)
            except BailiwickError as error:
                self._fail(error)
                return
        self._fail(Unreachable(f"the core died {MOST_DEATHS} times", do="see `bailiwick doctor`"))

    async def _death(self) -> None:
        """Return when the core's process is gone."""
        while True:
            try:
                await self._parts["core"].pid.remote()
            except RayActorError:
                return
            await self._note_pids()
            await asyncio.sleep(PAUSE_S)

    def _fail(self, error: BailiwickError) -> None:
        self._failure = error
        self._ready.set()
        self._stop.set()

    async def _note_pids(self) -> None:
        """Ask every part for its process id; a part that is restarting has none."""
        await asyncio.gather(*(self._note_pid(name, part) for name, part in self._parts.items()))

    async def _note_pid(self, name: str, part: Any) -> None:
        try:
            self._pids[name] = await asyncio.wait_for(once(part.pid.remote(), name), 2)
        except (BailiwickError, TimeoutError):
            self._pids[name] = 0

    def _host_pids(self) -> set[int]:
        """The tool host's process, whose descendants the gateway refuses."""
        return {self._pids.get("host", 0)} - {0}

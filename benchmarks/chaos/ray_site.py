"""The site on the full runtime: the real command `bailiwick up`, with Ray, default models and an MCP tool server."""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.chaos.book import CLASSIFIED, SERVER
from benchmarks.chaos.core_process import WORKFLOWS
from benchmarks.chaos.plan import CORE, EVERYTHING, HOST, MODEL, RUNNING, WORKER, Kill
from benchmarks.chaos.site import HOLD_MS, ROOT, Child, Site, World, last_words
from runtime.gateway.client import Client
from runtime.gateway.messages import StatusView, Submission
from runtime.gateway.paths import listening
from runtime.settings import Settings
from store.records.errors import BailiwickError, Unreachable

T = TypeVar("T")
PARTS = {CORE: "core", HOST: "host", WORKER: "worker", MODEL: "model"}
START_S, MOMENT_S = 120.0, 20.0
LONGEST_S = 2.0
"""The longest wait before a kill at random."""


class RaySite(Site):
    """A daemon. Its supervisor and Ray start again what was killed of it; if all of it was, it is brought up again."""

    def __init__(self, scratch: Path, world: World) -> None:
        """`scratch` takes the data folder, the runtime folder (its path must be short) and all else."""
        self.folder, self.world = scratch / "data", world
        self._scratch = scratch
        self._settings = Settings(data_dir=self.folder, runtime_dir=scratch / "run", policy="strict")
        self._tools, self._workflows = scratch / "tools.toml", scratch / "fleet.py"
        self._tools.write_text(_catalog(world.socket))
        shutil.copyfile(WORKFLOWS, self._workflows)
        for file in (self._tools, self._workflows):
            file.chmod(0o600)
        self._daemon: Child | None = None
        self._client: Client | None = None
        self._killed: set[int] = set()

    async def begin(self) -> None:
        """As Site.begin."""
        if self._daemon is None:
            command = [str(Path(sys.executable).parent / "bailiwick"), "up"]
            command += ["--tools", str(self._tools), "--workflows", str(self._workflows), "--policy", "strict"]
            self._daemon = await Child.start("daemon", command, self._environment(), self._scratch / "stderr")

    async def up(self) -> None:
        """As Site.up: the gateway listens, and all parts are there."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with suppress(BailiwickError):
                if self._client is None and listening(self._settings.socket):
                    self._client = await Client.connect(self._settings.socket)
                if self._client and min((await self._pids()).values()) > 0:
                    return
            if self._daemon is None or self._daemon.returncode is not None:
                break
            await asyncio.sleep(0.1)
        raise Unreachable("the daemon does not come up", last_words(self._scratch / "stderr"))

    async def submit(self, kind: str, number: int) -> str:
        """As Site.submit."""
        task = f"Record parcel {number} in the delivery book."
        submission = Submission(task=task, workflow=kind, input={"thinks": True})
        return await self._asked(lambda client: client.submit(submission))

    async def driven(self) -> int:
        """As Site.driven."""
        status = await self._status()
        return status.open_runs - status.idle_runs

    async def strike(self, kill: Kill) -> bool:
        """As Site.strike."""
        assert self._daemon
        came = True
        if kill.moment == RUNNING:
            await asyncio.sleep(kill.delay * LONGEST_S)
        else:
            came = await self.world.next_effect(MOMENT_S)
            await asyncio.sleep(kill.delay * 2 * HOLD_MS / 1000)
        if kill.target == EVERYTHING:
            await self._daemon.kill()
            self._daemon, self._killed = None, set()
            await self._hang_up()
            await asyncio.to_thread(self._swept)
        else:
            await self._kill_part(PARTS[kill.target])
        return came

    async def close(self) -> None:
        """As Site.close."""
        if self._client:
            await self._client.stop()
        await self._hang_up()
        if self._daemon and not await self._daemon.dead(START_S):
            raise Unreachable("the daemon does not end", last_words(self._scratch / "stderr"))

    async def kill(self) -> None:
        """As Site.kill."""
        await self._hang_up()
        if self._daemon and self._daemon.returncode is None:
            await self._daemon.kill()
            await asyncio.to_thread(self._swept)

    async def _kill_part(self, part: str) -> None:
        """Kill -9 one part; one that is down already is waited for."""
        async with asyncio.timeout(START_S):
            while (pid := (await self._pids())[part]) == 0:
                await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        self._killed.add(pid)

    async def _pids(self) -> dict[str, int]:
        """The process of each part, 0 while it is down: the status may not have noticed yet whom we killed."""
        return {part: 0 if pid in self._killed else pid for part, pid in (await self._status()).parts.items()}

    async def _status(self) -> StatusView:
        return await self._asked(lambda client: client.status())

    async def _asked(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        if self._client is None:
            raise Unreachable("the daemon is down")
        return await ask(self._client)

    async def _hang_up(self) -> None:
        if self._client:
            await self._client.close()
            self._client = None

    def _swept(self) -> None:
        """Wait until the warden has removed what a killed daemon left, as the next start would find it."""
        until = time.monotonic() + START_S
        while time.monotonic() < until and any(each.is_dir() for each in self._settings.runtime_dir.iterdir()):
            time.sleep(0.05)

    def _environment(self) -> dict[str, str]:
        own = {"DATA_DIR": self.folder, "RUNTIME_DIR": self._settings.runtime_dir}
        return {f"BAILIWICK_{name}": str(value) for name, value in own.items()}


def _catalog(counter: Path) -> str:
    """The tools file of the book's server."""
    lines = [
        f"[server.{SERVER}]",
        f'command = ["{{python}}", "-m", "benchmarks.chaos.tool_server", "{counter}"]',
        'cwd = "/"',
        f'env = {{ PYTHONPATH = "{ROOT}" }}',
    ]
    for name, classified in CLASSIFIED.items():
        lines.append(f"[server.{SERVER}.tools.{name}]")
        lines += [f"{field} = {_toml(value)}" for field, value in classified.items()]
        lines.append('output = { classification = "internal", integrity = "trusted" }')
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)

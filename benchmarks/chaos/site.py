"""A place where a fleet runs and dies: what the driver needs of it, with and without Ray."""

import asyncio
import os
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from benchmarks.chaos import counter as counting
from benchmarks.chaos.book import ask
from benchmarks.chaos.plan import Kill
from store.records.canonical import Json, canonical, parse
from store.records.errors import Unreachable

ROOT = Path(__file__).resolve().parents[2]
ANSWER_S = 30.0
HOLD_MS = 40
"""The longest that an effect takes to happen, and again to be answered, in milliseconds."""


class Child:
    """A process of ours, asked by lines on its standard streams."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, stderr: Path) -> None:
        self._process, self._name, self._stderr = process, name, stderr
        self._asking = asyncio.Lock()
        self.pid = process.pid

    @classmethod
    async def start(cls, name: str, command: list[str], environ: dict[str, str], stderr: Path) -> "Child":
        """Start it; it has not said anything yet."""
        with stderr.open("ab") as log:
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=log, env=os.environ | environ, cwd=ROOT
            )
        return cls(process, name, stderr)

    async def line(self, patience_s: float = ANSWER_S) -> str:
        """The next line that it says. Raises Unreachable if it ends, or says nothing for so long."""
        assert self._process.stdout
        try:
            data = await asyncio.wait_for(self._process.stdout.readline(), patience_s)
        except TimeoutError:
            raise Unreachable(f"the {self._name} does not answer") from None
        if not data.endswith(b"\n"):
            raise Unreachable(f"the {self._name} is dead", last_words(self._stderr))
        return data.decode()

    async def ask(self, order: Json) -> Any:
        """Its answer to one order."""
        assert self._process.stdin
        async with self._asking:
            try:
                self._process.stdin.write(canonical(order) + b"\n")
                await self._process.stdin.drain()
            except OSError:
                raise Unreachable(f"the {self._name} is dead") from None
            return parse((await self.line()).encode())

    async def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.returncode

    async def dead(self, patience_s: float) -> bool:
        """Whether it dies by itself in so many seconds."""
        try:
            await asyncio.wait_for(self._process.wait(), patience_s)
        except TimeoutError:
            return False
        return True

    async def end(self) -> int:
        """Close its standard input and wait for its end; kill it if it takes too long. Its exit code."""
        assert self._process.stdin
        self._process.stdin.close()
        if not await self.dead(ANSWER_S):
            await self.kill()
        return self._process.returncode or 0


def last_words(file: Path) -> str:
    """The last line that something wrote to its standard error."""
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    return lines[-1][:300] if lines else "it said nothing"


class World:
    """The counter: started once for a site, never killed."""

    def __init__(self, child: Child, socket: Path, file: Path) -> None:
        self._child, self.socket, self.file = child, socket, file

    @classmethod
    async def start(cls, folder: Path, seed: int) -> "World":
        """Start the counter in a folder."""
        socket, file = folder / "world.sock", folder / "counted"
        command = [sys.executable, "-I", "-S", counting.__file__, str(socket), str(file), str(seed), str(HOLD_MS)]
        child = await Child.start("counter", command, {}, folder / "stderr")
        await child.line()
        return cls(child, socket, file)

    async def next_effect(self, patience_s: float) -> bool:
        """Return True as soon as an effect is asked for; False if none is in so many seconds."""
        try:
            await asyncio.wait_for(asyncio.to_thread(ask, self.socket, {"do": "watch"}), patience_s)
        except (TimeoutError, OSError, ValueError):
            return False
        return True

    def counted(self) -> list[dict[str, Any]]:
        """Every effect that was carried out, in order."""
        return [parse(line) for line in self.file.read_bytes().splitlines()] if self.file.exists() else []

    async def close(self) -> None:
        """End the counter."""
        await self._child.end()


class Site(ABC):
    """A runtime on a data folder. All of it may be killed; the world is another's."""

    folder: Path
    world: World

    @abstractmethod
    async def begin(self) -> None:
        """Start whatever is not up, as a supervisor would, and wait for nothing."""

    @abstractmethod
    async def up(self) -> None:
        """Wait until runs are taken. Raises Unreachable if it does not come up."""

    @abstractmethod
    async def submit(self, kind: str, number: int) -> str:
        """Submit a run; its id is the acknowledgement. Raises Unreachable if there is none."""

    @abstractmethod
    async def driven(self) -> int:
        """How many runs are being driven. Raises Unreachable."""

    @abstractmethod
    async def strike(self, kill: Kill) -> bool:
        """Kill what `kill` names, at its moment; whether that moment came. If it does not, the kill comes all the same.

        Before a kill while it starts there is no `up`.
        """

    @abstractmethod
    async def close(self) -> None:
        """End the runtime in order."""

    @abstractmethod
    async def kill(self) -> None:
        """Kill whatever is still up."""

    async def drained(self, patience_s: float) -> bool:
        """Wait until nobody drives a run any more; False if that takes longer than so many seconds."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            if await self.driven() == 0:
                return True
            await asyncio.sleep(0.05)
        return False

"""The site without Ray: core and tool host in a process each, and power cuts under the core's files."""

import asyncio
import random
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks.chaos.plan import CORE, DONE, HOST, INTENT, POWER, UNDER_WAY, UNSYNCED, Kill
from benchmarks.chaos.power import Disk
from benchmarks.chaos.site import HOLD_MS, Child, Site, World, last_words
from runtime.crashpoints import CrashPoint
from store.records.canonical import Json, parse
from store.records.errors import Unreachable

LONGEST_S = 0.5
"""The longest wait before a kill at random."""
MOMENT_S = 10.0
"""How long the moment of a kill is waited for."""
POINTS = {INTENT: CrashPoint.AFTER_INTENT, DONE: CrashPoint.AFTER_CALL}
MOST_VISITS = 3


class PlainSite(Site):
    """Started again after each kill as a supervisor would: the host and the core if they are down."""

    def __init__(self, scratch: Path, world: World, *, careless: bool = False) -> None:
        """`scratch` takes the data folder and all else. `careless` tools ignore their key."""
        self.folder, self.world = scratch / "data", world
        self._scratch, self._careless = scratch, careless
        self.folder.mkdir(mode=0o700)
        self._disk = Disk(self.folder, scratch)
        self._core: Child | None = None
        self._host: Child | None = None
        self._listens = self._takes = False
        self.open_intents = self.unsynced = 0
        """What kills left behind: effects without an outcome, and writes that were not synced."""

    async def begin(self) -> None:
        """As Site.begin."""
        errors = self._scratch / "stderr"
        socket = str(self._scratch / "host.sock")
        if self._host is None:
            words = [socket, str(self.world.socket), *["careless"] * self._careless]
            command = [sys.executable, "-m", "benchmarks.chaos.host_process", *words]
            self._host, self._listens = await Child.start("tool host", command, {}, errors), False
        if self._core is None:
            command = [sys.executable, "-m", "benchmarks.chaos.core_process", str(self.folder), socket]
            self._core, self._takes = await Child.start("core", command, self._disk.environment(), errors), False

    async def up(self) -> None:
        """As Site.up."""
        assert self._host
        assert self._core
        if not self._listens:
            await self._host.line()
            self._listens = True
        if not self._takes:
            self.open_intents += parse((await self._core.line()).encode())["open_intents"]
            self._takes = True

    async def submit(self, kind: str, number: int) -> str:
        """As Site.submit."""
        answer = await self._ask({"do": "submit", "workflow": kind, "task": f"Record parcel {number}"})
        return str(answer["run"])

    async def driven(self) -> int:
        """As Site.driven."""
        return int((await self._ask({"do": "driven"}))["driven"])

    async def _ask(self, order: Json) -> Any:
        if self._core is None:
            raise Unreachable("the core is down")
        answer = await self._core.ask(order)
        if "error" in answer:
            raise Unreachable(answer["error"])
        return answer

    async def strike(self, kill: Kill) -> bool:
        """As Site.strike."""
        came = await self._moment(kill)
        self._check_alive(by_itself=came and kill.moment in (*POINTS, UNSYNCED))
        if kill.target != CORE and self._host:
            await self._host.kill()
            self._host = None
        if kill.target != HOST and self._core:
            await self._core.kill()
            self._core = None
            self._disk.settle()
        if kill.target == POWER:
            chance = random.Random(kill.luck)
            self.unsynced += self._disk.cut(chance, all_lost=chance.random() < 0.5)
        return came

    async def close(self) -> None:
        """As Site.close."""
        if self._core:
            code = await self._core.end()
            self._core = None
            self._disk.settle()
            if code:
                raise Unreachable(f"the core did not end in order: exit code {code}", str(self._scratch / "stderr"))
        if self._host:
            await self._host.end()
            self._host = None

    async def kill(self) -> None:
        """As Site.kill."""
        for part in (self._core, self._host):
            if part:
                await part.kill()

    def _check_alive(self, *, by_itself: bool) -> None:
        """Raise Unreachable if a part has ended that nobody has killed; `by_itself`: the core was to kill itself."""
        for name, part, expected in (("tool host", self._host, False), ("core", self._core, by_itself)):
            if part and part.returncode not in ((-signal.SIGKILL,) if expected else (None,)):
                what = f"the {name} ended by itself with code {part.returncode}"
                raise Unreachable(what, last_words(self._scratch / "stderr"))

    async def _moment(self, kill: Kill) -> bool:
        """Wait for the moment. At a crash point the core has killed itself by then."""
        if kill.moment == UNDER_WAY:
            came = await self.world.next_effect(MOMENT_S)
            await asyncio.sleep(kill.delay * 2 * HOLD_MS / 1000)
            return came
        if kill.moment in POINTS and self._core:
            order = {"do": "arm", "point": POINTS[kill.moment], "visit": 1 + kill.luck % MOST_VISITS}
            await self._core.ask(order)
            return await self._core.dead(MOMENT_S)
        await asyncio.sleep(kill.delay * LONGEST_S)
        if kill.moment == UNSYNCED and self._core:
            self._disk.die_at_sync(1 + kill.luck % MOST_VISITS)
            return await self._core.dead(MOMENT_S)
        return True

"""The fleet: keeps a site busy with runs, strikes as planned, and waits at the end until every run has ended."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.chaos.book import KINDS
from benchmarks.chaos.plan import STARTING, Kill
from benchmarks.chaos.site import Site
from store.records.errors import BailiwickError

SIZE = 6
"""Runs that are under way at a time."""
WEIGHTS = (4, 4, 1)
"""How often a run is of each kind: one in doubt stays, and is looked at anew at every start."""
PAUSE_S = 0.02
DRAIN_S = 90.0


@dataclass
class Log:
    """What the driver, which never dies, knows of one site.

    `acknowledged` maps a run to its kind. `troubles` say what should not have been: a runtime that did not come up.
    """

    acknowledged: dict[str, str] = field(default_factory=dict)
    kills: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    missed: int = 0
    drained: bool = False
    troubles: list[str] = field(default_factory=list)


class Fleet:
    """Runs and kills on one site."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site, self._chance = site, chance
        self._number = 0
        self.log = Log()

    async def live(self, kills: Sequence[Kill], tell: Callable[[str], None]) -> Log:
        """See the site through all of its kills and to its end."""
        try:
            for kill in kills:
                await self._life(kill)
                tell(f"{kill.target}, {kill.moment}; {len(self.log.acknowledged)} runs so far")
            await self._site.begin()
            await self._site.up()
            self.log.drained = await self._site.drained(DRAIN_S)
            await self._site.close()
        except BailiwickError as error:
            self.log.troubles.append(str(error))
        return self.log

    async def _life(self, kill: Kill) -> None:
        """Start what is down, let it work, and kill it."""
        await self._site.begin()
        if kill.moment != STARTING:
            await self._site.up()
        struck = asyncio.Event()
        busy = asyncio.create_task(self._keep_busy(struck))
        try:
            came = await self._site.strike(kill)
        finally:
            struck.set()
            await busy
        self.log.missed += not came
        self.log.kills[kill.target, kill.moment, kill.full] += 1

    async def _keep_busy(self, struck: asyncio.Event) -> None:
        """Submit run after run; whatever is down is tried again. An answer that is under way is waited for."""
        while not struck.is_set():
            with suppress(BailiwickError):
                if await self._site.driven() < SIZE:
                    await self._submit()
                    continue
            await asyncio.sleep(PAUSE_S)

    async def _submit(self) -> None:
        kind = self._chance.choices(KINDS, WEIGHTS)[0]
        self._number += 1
        run = await self._site.submit(kind, self._number)
        self.log.acknowledged[run] = kind

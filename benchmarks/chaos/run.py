"""One run of the benchmark: site after site, each in a folder of its own, and the findings over all of them."""

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.fleet import Fleet, Log
from benchmarks.chaos.judge import Verdict, judge
from benchmarks.chaos.plain_site import PlainSite
from benchmarks.chaos.plan import Kill
from benchmarks.chaos.ray_site import RaySite
from benchmarks.chaos.site import World
from store.ledger.ledger import Ledger
from store.records.errors import BailiwickError

Tell = Callable[[str], None]


@dataclass
class Findings:
    """What a run of the benchmark found. `kills` counts by target, moment and whether it was on the full runtime.

    `missed` are kills whose moment did not come in time; `open_intents` effects over the first two kinds that a core
    without Ray found without an outcome when it started; `unsynced` writes that were at stake in the power cuts.
    """

    verdict: Verdict = field(default_factory=Verdict)
    kills: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    acknowledged: int = 0
    missed: int = 0
    open_intents: int = 0
    unsynced: int = 0
    troubles: list[str] = field(default_factory=list)
    seconds: dict[bool, float] = field(default_factory=lambda: {False: 0.0, True: 0.0})

    def take(self, log: Log, verdict: Verdict) -> None:
        """Take in what the driver and the judge know of one site."""
        self.verdict.add(verdict)
        self.kills.update(log.kills)
        self.acknowledged += len(log.acknowledged)
        self.missed += log.missed
        self.troubles += log.troubles

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, done twice, damaged, or in doubt without need."""
        verdict = self.verdict
        return verdict.doubtless and not (verdict.lost or verdict.duplicated or verdict.damage or self.troubles)


async def run(sites: Sequence[Sequence[Kill]], seed: int, tell: Tell, *, careless: bool = False) -> Findings:
    """See all sites through. `careless` tools ignore their key, so that effects are done twice: a test of the test."""
    findings = Findings()
    for number, kills in enumerate(sites):
        scratch = Path(tempfile.mkdtemp(prefix="bw-chaos-", dir="/tmp"))
        try:
            await _site(scratch, kills, f"{seed}/{number}", findings, tell, careless)
        finally:
            if not __import__("os").environ.get("KEEP"):
                shutil.rmtree(scratch, ignore_errors=True)
    return findings


async def _site(
    scratch: Path, kills: Sequence[Kill], seed: str, findings: Findings, tell: Tell, careless: bool
) -> None:
    started, full = time.monotonic(), kills[0].full
    chance = random.Random(seed)
    world = await World.start(scratch, chance.getrandbits(32))
    site = RaySite(scratch, world) if full else PlainSite(scratch, world, careless=careless)
    fleet = Fleet(site, chance)
    done = 0

    def told(line: str) -> None:
        nonlocal done
        done += 1
        tell(f"{time.monotonic() - started:6.1f} s  {done} of {len(kills)}  {line}")

    try:
        log = await fleet.live(kills, told)
    finally:
        await site.kill()
        await world.close()
    findings.take(log, verdict_on(site.folder, world.counted(), log.acknowledged))
    findings.seconds[full] += time.monotonic() - started
    if isinstance(site, PlainSite):
        findings.open_intents += site.open_intents
        findings.unsynced += site.unsynced


def verdict_on(folder: Path, counted: list[dict[str, object]], acknowledged: dict[str, str]) -> Verdict:
    """The judge's verdict on a data folder; if its ledger does not open, every acknowledged run is lost."""
    try:
        with Ledger.open(folder, read_only=True) as ledger:
            return judge(ledger, counted, acknowledged)
    except BailiwickError as error:
        lost = [f"run {run} is in a ledger that cannot be read" for run in acknowledged]
        return Verdict(runs=Counter(acknowledged.values()), lost=lost, damage=[str(error)])

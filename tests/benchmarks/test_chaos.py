"""The benchmark of kills and power cuts: that its checks can fail. tests/e2e/test_chaos.py sees that they pass."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks.chaos import plan, report
from benchmarks.chaos.fleet import Fleet
from benchmarks.chaos.judge import Verdict
from benchmarks.chaos.plain_site import PlainSite
from benchmarks.chaos.plan import CORE, DONE, POWER, RUNNING, Kill
from benchmarks.chaos.power import Disk, Record
from benchmarks.chaos.run import Findings, run, verdict_on
from benchmarks.chaos.site import World
from store.records.errors import IntegrityError

WRITING = """
import mmap, os, sys
from pathlib import Path
folder = Path(sys.argv[1])
def put(name, *parts):
    with (folder / name).open("wb", buffering=0) as file:
        for part in parts:
            file.write(part) if part else os.fsync(file.fileno())
put("synced", b"kept", b"")
put("partly", b"kept", b"", b"lost")
put("never", b"lost")
(folder / "synced").rename(folder / "renamed")
(folder / "partly").touch()
if "names" in sys.argv:
    put("last", b"kept", b"")
if "mapped" in sys.argv:
    put("mapped", b"seen", b"")
    with (folder / "mapped").open("r+b") as file, mmap.mmap(file.fileno(), 4) as memory:
        memory[:] = b"hush"
os.kill(os.getpid(), 9)
"""


def quiet(_: str) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
def disk(tmp_path: Path) -> Callable[..., Disk]:
    """Makes the disk under a folder that a process has written to and died."""

    def make(*arguments: str) -> Disk:
        folder = tmp_path / "files"
        folder.mkdir()
        made = Disk(folder, tmp_path)
        command = [sys.executable, "-I", "-S", "-c", WRITING, str(folder), *arguments]
        assert subprocess.run(command, env=made.environment(), check=False).returncode == -signal.SIGKILL
        return made

    return make


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(disk: Callable[..., Disk], tmp_path: Path) -> None:
    under = disk()
    under.settle()
    before = {"renamed": b"kept", "partly": b"keptlost", "never": b"lost"}
    assert files(tmp_path / "files") == before
    assert under.cut(random.Random(1), all_lost=True) == 2
    # The rename came after the last sync, the name `partly` before it: `never` was never synced, nor was any after it.
    assert files(tmp_path / "files") == {"synced": b"kept", "partly": b"kept"}
    assert under.cut(random.Random(1), all_lost=True) == 0, "what survived a power cut survives the next"


def test_names_become_durable_with_the_next_sync_and_data_do_not(disk: Callable[..., Disk], tmp_path: Path) -> None:
    under = disk("names")
    under.settle()
    under.cut(random.Random(1), all_lost=True)
    assert files(tmp_path / "files") == {"renamed": b"kept", "partly": b"kept", "never": b"", "last": b"kept"}


def test_a_part_of_what_was_not_synced_may_survive_torn(disk: Callable[..., Disk]) -> None:
    found = {bytes(each) for each in _survivors(b"kept", b"a" * 1024, b"b" * 1024)}
    whole = b"kept" + b"a" * 1024
    assert {b"kept", whole, whole + b"b" * 1024, whole + b"b" * 512} <= found
    assert b"kept" + bytes(1024) + b"b" * 512 in found, "a later write may be there without an earlier one"


def _survivors(durable: bytes, *writes: bytes) -> list[bytearray]:
    from benchmarks.chaos.power import File

    file = File(bytearray(durable))
    for write in writes:
        file.pending.append(Record("W", 1, len(file.now()), write))
    return [file.survivor(random.Random(seed)) for seed in range(200)]


def test_a_write_that_went_unseen_is_an_error(disk: Callable[..., Disk]) -> None:
    with pytest.raises(IntegrityError, match="not what its process was seen to write"):
        disk("mapped").settle()


@dataclass
class Past:
    """A site whose runs have all ended: its folder, what was counted and what was acknowledged."""

    folder: Path
    counted: list[dict[str, Any]]
    acknowledged: dict[str, str]

    def verdict(self) -> Verdict:
        return verdict_on(self.folder, self.counted, self.acknowledged)


@asynccontextmanager
async def a_site(folder: Path, **how: bool) -> AsyncIterator[PlainSite]:
    """A site that is begun, with the counter beside it; whatever is up in the end is killed."""
    world = await World.start(folder, 1)
    site = PlainSite(folder, world, **how)
    try:
        await site.begin()
        yield site
    finally:
        await site.kill()
        await world.close()


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """A site where one run of each kind has completed and nothing was killed."""
    folder = tmp_path_factory.mktemp("site")

    async def live() -> Past:
        async with a_site(folder) as site:
            await site.up()
            acknowledged = {await site.submit(kind, 1): kind for kind in ("keyed", "asked", "blind")}
            assert await site.drained(60)
            await site.close()
            return Past(site.folder, site.world.counted(), acknowledged)

    return asyncio.run(live())


def test_a_site_without_kills_is_sound(past: Past) -> None:
    verdict = past.verdict()
    assert (verdict.finished.total(), verdict.effects, verdict.finished_share) == (3, 6, 1.0)
    assert Findings(verdict).sound
    assert verdict.lost == verdict.duplicated == verdict.unfinished == verdict.damage == []


def test_a_run_that_was_dropped_is_lost(past: Past) -> None:
    verdict = Past(past.folder, past.counted, past.acknowledged | {"r0": "keyed"}).verdict()
    assert verdict.lost == ["run r0 was acknowledged and is gone"]
    assert not Findings(verdict).sound


def test_an_effect_recorded_as_done_that_nobody_saw_is_lost(past: Past) -> None:
    missing = past.counted[0]["reference"]
    verdict = Past(past.folder, past.counted[1:], past.acknowledged).verdict()
    assert len(verdict.lost) == 2, verdict.lost
    assert "completed, and its effect" in verdict.lost[0]
    assert f"says that effect {missing} was done; it was not" in verdict.lost[1]


def test_an_effect_that_happened_twice_is_duplicated(past: Past) -> None:
    verdict = Past(past.folder, [*past.counted, past.counted[0]], past.acknowledged).verdict()
    assert verdict.duplicated == [f"effect {past.counted[0]['reference']} was carried out 2 times"]
    assert verdict.flagged == 0
    assert not Findings(verdict).sound


def test_an_effect_without_an_intent_is_found(past: Past) -> None:
    verdict = Past(past.folder, [*past.counted, {"reference": "r0/1"}], past.acknowledged).verdict()
    assert verdict.lost == ["effect r0/1 happened, and no intent tells of it"]


def test_a_damaged_ledger_is_named(past: Past, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    subprocess.run(["cp", "-r", past.folder, copy], check=True)
    with duckdb.connect(str(copy / "ledger.duckdb")) as connection:
        connection.execute("UPDATE events SET decision = 'other' WHERE seq = 3")
    verdict = Past(copy, past.counted, past.acknowledged).verdict()
    assert [each for each in verdict.damage if "event 3" in each]
    assert not Findings(verdict).sound
    (copy / "ledger.duckdb").write_bytes(b"no database")
    gone = Past(copy, past.counted, past.acknowledged).verdict()
    assert len(gone.lost) == 3
    assert gone.damage


async def test_a_tool_that_ignores_its_key_is_caught() -> None:
    kills = [Kill(CORE, DONE, 0.5, luck) for luck in range(4)]
    findings = await run([kills], 1, quiet, careless=True)
    assert findings.verdict.duplicated
    assert not findings.sound
    assert report.summary(findings)["duplicated"] == len(findings.verdict.duplicated)


class Liar(Disk):
    """A disk that says it has synced and has not."""

    def _take(self, record: Record) -> None:
        if record.what != "S":
            super()._take(record)


async def test_a_disk_that_lies_is_caught(tmp_path: Path) -> None:
    """What was acknowledged is gone after the power cut: a ledger that did not sync would be found out like this."""
    async with a_site(tmp_path) as site:
        await site.kill()
        site._core = site._host = None
        site._disk = Liar(tmp_path / "liar", tmp_path)
        site.folder = site._disk._folder
        site.folder.mkdir(mode=0o700)
        log = await Fleet(site, random.Random(1)).live([Kill(POWER, RUNNING, 1.0, 1)], quiet)
        verdict = verdict_on(site.folder, site.world.counted(), log.acknowledged)
    gone = [each for each in verdict.lost if "was acknowledged and is gone" in each]
    assert len(gone) == len(log.acknowledged) > 0


def test_the_seed_decides_what_is_killed_when() -> None:
    one, again, other = plan.plan(1000, 7, 100), plan.plan(1000, 7, 100), plan.plan(1000, 8, 100)
    assert one == again != other
    kills = [kill for site in one for kill in site]
    assert (len(kills), sum(kill.full for kill in kills)) == (1000, 100)
    assert max(len(site) for site in one) == plan.PER_SITE
    assert all(len({kill.full for kill in site}) == 1 for site in one)
    assert sum(kill.between for kill in kills) == 500
    assert {kill.target for kill in kills if kill.full} == set(plan.RAY)
    for target in plan.PLAIN:
        of = [kill for kill in kills if kill.target == target and not kill.full]
        assert 0.4 < sum(kill.between for kill in of) / len(of) < 0.6

"""Our side: runs of the real core, timed from the submission until the outcome is on disk."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from benchmarks.durability.site import core, opened
from benchmarks.durability.workload import WARM_UP, text
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.core import Core
from runtime.gateway.messages import RunView, Submission
from runtime.identity import current_user
from store.ledger.ledger import Ledger

Figures = dict[str, float]
LONG_S = 100_000.0


class Steps(BaseModel):
    """The steps of one run: which numbers their results have."""

    first: int
    count: int


@dataclass
class Site:
    """The workflows of this benchmark, and what they share with whoever watches them."""

    ledger: Ledger | None = None
    pending: set[str] = field(default_factory=set)
    """The runs that have come to their pending step."""

    async def chain(self, run: Run, steps: Steps) -> int:
        """Steps in sequence."""
        for number in range(steps.first, steps.first + steps.count):
            await run.step(text, number)
        return steps.count

    async def strict(self, run: Run, steps: Steps) -> int:
        """Steps in sequence, the next one only when the last is on disk."""
        assert self.ledger is not None
        for number in range(steps.first, steps.first + steps.count):
            await run.step(text, number)
            await self.ledger.flushed()
        return steps.count

    async def endless(self, run: Run, steps: Steps) -> int:
        """Steps in sequence, then one that does not end."""
        await self.chain(run, steps)
        self.pending.add(run.id)
        await run.sleep(LONG_S)
        return steps.count


def sequence(folder: Path, steps: int) -> Figures:
    """Steps a second of one run, with output commit."""
    return asyncio.run(_alone(folder, steps, "chain"))


def strict(folder: Path, steps: int) -> Figures:
    """Steps a second of one run whose every step waits for the disk."""
    return asyncio.run(_alone(folder, steps, "strict"))


def many(folder: Path, steps: int, runs: int) -> Figures:
    """Steps a second of so many runs at once, `steps` each."""
    return asyncio.run(_many(folder, steps, runs))


def grow(folder: Path, steps: int) -> Figures:
    """Bytes on disk after one run of so many steps, when the core has closed."""
    asyncio.run(_grow(folder, steps))
    return {"bytes": float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))}


def leave(folder: Path, steps: int, runs: int) -> Figures:
    """Leaves so many runs open, all with `steps` steps on disk and one pending, and waits to be killed."""
    asyncio.run(_leave(folder, steps, runs))
    return {}


def recover(folder: Path, runs: int) -> Figures:
    """Seconds from the start of a core until each of the runs that were left open is at its pending step again."""
    return asyncio.run(_recover(folder, runs))


@asynccontextmanager
async def _site(folder: Path, name: str) -> AsyncIterator[tuple[Site, Core]]:
    site = Site()
    async with opened(folder, _workflow(site, name)) as life:
        site.ledger = life.ledger
        yield site, life


def _workflow(site: Site, name: str) -> Workflow:
    return Workflow(name, 1, getattr(site, name), None, ())


async def _alone(folder: Path, steps: int, name: str) -> Figures:
    async with _site(folder, name) as (_, life):
        await _finished(life, name, 0, WARM_UP)
        started = time.perf_counter()
        await _finished(life, name, WARM_UP, steps)
        return {"steps_per_s": steps / (time.perf_counter() - started)}


async def _many(folder: Path, steps: int, runs: int) -> Figures:
    async with _site(folder, "chain") as (_, life):
        await _finished(life, "chain", 0, WARM_UP)
        started = time.perf_counter()
        await asyncio.gather(*(_finished(life, "chain", WARM_UP + each * steps, steps) for each in range(runs)))
        return {"steps_per_s": runs * steps / (time.perf_counter() - started)}


async def _grow(folder: Path, steps: int) -> None:
    async with _site(folder, "chain") as (_, life):
        await _finished(life, "chain", 0, steps)


async def _leave(folder: Path, steps: int, runs: int) -> None:
    async with _site(folder, "endless") as (site, life):
        await asyncio.gather(*(_submitted(life, "endless", each * steps, steps) for each in range(runs)))
        await _until_pending(site, runs)
        await life.ledger.flushed()
        print("{}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _recover(folder: Path, runs: int) -> Figures:
    site = Site()
    started = time.perf_counter()
    life = core(folder, _workflow(site, "endless"))
    try:
        opened_s = time.perf_counter() - started
        await life.resume()
        await _until_pending(site, runs)
        return {
            "recovery_s": time.perf_counter() - started,
            "recovery_open_s": opened_s,
            "recovery_events": float(life.ledger.last_seq()),
        }
    finally:
        await life.close()


async def _until_pending(site: Site, runs: int) -> None:
    while len(site.pending) < runs:
        await asyncio.sleep(0.005)


async def _submitted(life: Core, name: str, first: int, count: int) -> str:
    submission = Submission(task="measure", workflow=name, input={"first": first, "count": count})
    return await life.submit(submission, current_user())


async def _finished(life: Core, name: str, first: int, count: int) -> RunView:
    """One run from its submission until its outcome is on disk and told."""
    view = await life.ended(await _submitted(life, name, first, count))
    assert view.status == "completed", view
    return view

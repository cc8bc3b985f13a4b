"""Runs after a restore of the ledger: none goes on by itself, and one that a person resumes does."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import ScheduleSpec
from store.keys.site_key import Site
from store.ledger.backup import back_up
from store.ledger.restore import restore
from store.records.kinds import Kind


class Go(BaseModel):
    on: bool = True


async def restart(run: Run) -> str:
    await run.wait("go", Go)
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.commit()
    return "ended"


async def begin(run: Run) -> str:
    return str(await run.child("restart", "restart it"))


FLOWS = (Workflow("restart", 1, restart, None, ()), Workflow("begin", 1, begin, None, ()))


async def test_no_open_run_goes_on_before_a_person_resumes_it(live: Any, site: Any, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    async with live(*FLOWS) as life:
        run, parent = await life.submit("restart"), await life.submit("begin")
        child = f"{parent}-1"
        while not (life.events(run, Kind.WAIT_BEGUN) and life.events(child, Kind.WAIT_BEGUN)):
            await asyncio.sleep(0.005)
        await asyncio.to_thread(back_up, life.core.ledger, backup, "local", "root")
        await life.core.signal(run, "go", {"on": True}, life.user)
        assert (await life.finish(run)).status == "completed"
    assert len(site.effects()) == 1
    restored = restore(backup, site.folder, Site(site.folder / "keys"), "local", "root", replace=True)
    assert set(restored.parked) == {run, parent, child}
    async with live(*FLOWS) as life:
        assert await life.core.resume() == []
        assert [view.status for view in await life.core.runs(5)] == ["parked"] * 3
        assert life.error(run)["kind"] == "Waiting"
        for each in (run, child):
            await life.core.signal(each, "go", {"on": True}, life.user)
    async with live(*FLOWS) as life:
        assert await life.core.resume() == []  # the second start is as careful as the first, and a signal is no order
        assert len(site.effects()) == 1
        assert (await life.resume(child)).status == "completed"
        assert life.events(parent)[-1][0].kind == Kind.RUN_PARKED  # not woken by its child
        assert (await life.resume(run)).status == "completed"
        assert (await life.resume(parent)).status == "completed"
        assert life.core.ledger.open_runs() == []
    async with live(*FLOWS) as life:
        assert life.core.ledger.held_back() == set()


async def test_a_schedule_makes_up_for_nothing_that_may_have_fired_after_the_backup(
    live: Any, site: Any, tmp_path: Path
) -> None:
    backup, now = tmp_path / "backup", datetime.now(UTC)
    async with live(*FLOWS) as life:
        life.core.schedules.clock = lambda: now - timedelta(days=2)
        spec = ScheduleSpec(name="hourly", cron="0 * * * *", zone="UTC", workflow="restart", task="restart it")
        await life.core.add_schedule(spec, life.user)
        await asyncio.to_thread(back_up, life.core.ledger, backup, "local", "root")
    restore(backup, site.folder, Site(site.folder / "keys"), "local", "root", replace=True)
    async with live(*FLOWS) as life:
        life.core.schedules.clock = lambda: now
        await life.core.schedules.fire()
        assert await life.core.runs(5) == []
        life.core.schedules.clock = lambda: now + timedelta(hours=2)
        await life.core.schedules.fire()
        assert len(await life.core.runs(5)) == 1

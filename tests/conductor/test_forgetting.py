"""What a user's runs remembered goes with the user's content, from a core at work, and from nobody else."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import ContentScope, Submission
from store.records.errors import Denied
from store.records.kinds import Kind


class Go(BaseModel):
    on: bool


async def remembers(run: Run) -> int:
    await run.remember(f"{run.task} is in room twelve", {})
    return len(await run.recall("room twelve", limit=50))


async def lingers(run: Run) -> None:
    await run.remember(f"{run.task} is in room twelve", {})
    await run.wait("go", Go)


FLOWS = (Workflow("remembers", 1, remembers, None, ()), Workflow("lingers", 1, lingers, None, ()))


async def test_shredding_a_user_reaches_their_memory_while_others_go_on(live: Any, site: Any) -> None:
    async with live(*FLOWS) as life:
        ada, bob = replace(life.user, name="ada"), replace(life.user, name="bob")

        async def submit(flow: str, task: str, user: Any) -> str:
            run: str = await life.core.submit(Submission(task=task, workflow=flow), user)
            return run

        for user, who in ((ada, "Ophelia"), (bob, "Laertes")):
            view = await life.finish(await submit("remembers", who, user))
            assert view.status == "completed", life.error(view.run)
        open_run = await submit("lingers", "Ophelia", ada)
        async with asyncio.timeout(30):
            while not life.events(open_run, Kind.WAIT_BEGUN):
                await asyncio.sleep(0.005)
        scope = ContentScope(tenant=life.user.tenant, user="ada")
        with pytest.raises(Denied, match="an open run needs it"):
            await life.core.shred(scope, life.user)
        await life.core.cancel(open_run, life.user, "")
        at_work = [await submit("remembers", f"Laertes {number}", bob) for number in range(8)]
        gone = await life.core.shred(scope, life.user)
        assert gone.memories == 2
        for run in at_work:
            assert (await life.finish(run)).status == "completed"
        [storage] = (await life.core.queries.storage()).memory
        assert storage.memories == 1 + len(at_work)
        there = [path for path in site.folder.rglob("*") if path.is_file() and b"Ophelia is in" in path.read_bytes()]
        assert there == []


async def test_an_admin_orders_over_their_own_tenant_and_only_the_sites_own_over_all(live: Any, site: Any) -> None:
    async with live(*FLOWS) as life:
        theirs = replace(life.user, name="erin", tenant="rival")
        ours, own = ContentScope(tenant=life.user.tenant), ContentScope(tenant="rival", user="zoe")
        for order in (
            life.core.shred(ours, theirs),
            life.core.hold(ours, "", theirs),
            life.core.end_hold(ours, theirs),
            life.core.sweep(False, theirs),
            life.core.backup(str(site.folder.with_name("kept")), theirs),
            life.core.release(theirs, ""),
            life.core.propose_policy(theirs),
            life.core.approve_policy("01234567", "", theirs),
        ):
            with pytest.raises(Denied, match="erin is of the tenant rival, and that is"):
                await order
        await life.core.hold(own, "a case", theirs)
        await life.core.end_hold(own, life.user)  # the site's admin reaches every tenant

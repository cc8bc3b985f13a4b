"""Queues and schedules of a runtime that is up, from the command line."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runtime.gateway.messages import Submission
from runtime.identity import current_user
from store.ledger.ledger import Ledger
from store.records.event import Draft
from store.records.kinds import Kind

FLOWS = """
from bailiwick import Run, workflow


@workflow("say", version=1)
async def say(run: Run) -> str:
    return run.task


@workflow("nap", version=1)
async def nap(run: Run) -> None:
    await run.sleep(3600)
"""


def had_been_set(folder: Path) -> None:
    """A ledger with a schedule for every minute, set up an hour ago."""
    user = current_user(tenant="local", unit="")
    spec = {"name": "minutely", "cron": "* * * * *", "zone": "UTC", "workflow": "say", "input": {}, "queue": ""}
    begun = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    draft = Draft(kind=Kind.SCHEDULE_SET, tenant="local", actor="gateway", actor_version="1", principal=user.name)
    with Ledger.open(folder) as ledger:
        ledger.append(draft, {**spec, "task": "missed", "user": user.json(), "from": begun}).wait()


async def test_queues_and_schedules_of_a_daemon(sites: Callable[[], Any]) -> None:
    site = sites()
    had_been_set(site.data)
    flows = site.folder / "flows.py"
    flows.write_text(FLOWS)
    site.environ |= {"BAILIWICK_WORKFLOWS": str(flows), "BAILIWICK_QUEUES": json.dumps({"slow": {"concurrency": 1}})}
    daemon = site.start("up")
    async with site.client(daemon) as client:
        while not (missed := (await client.schedules())[0].run):
            await asyncio.sleep(0.02)
        assert (await anext(client.follow(run=missed))).event["kind"] == "run.submitted"
        assert json.loads(site.run("schedules", "list", "--json").out)[0]["last"].endswith("+00:00")

        first, second = [await client.submit(Submission(task="sleep", workflow="nap", queue="slow")) for _ in range(2)]
        while (await client.run(first)).status != "waiting":
            await asyncio.sleep(0.02)
        views = {each["queue"]: each for each in site.run("queues", "--json").json}
        assert (views["slow"]["running"], views["slow"]["queued"], views["slow"]["concurrency"]) == (1, 1, 1)
        assert {each["run"]: each["status"] for each in site.run("runs", "list", "--json").json}[second] == "queued"
        assert site.run("status", "--json").json["idle_runs"] == 0
        refused = site.run("run", "now", "--queue", "fast", "--workflow", "say")
        assert (refused.code, "no queue 'fast'" in refused.err) == (2, True)

        add = ("schedules", "add", "--workflow", "say", "--task", "good morning")
        done = site.run(*add, "daily", "--cron", "0 6 * * 1-5", "--zone", "Europe/Zurich", "--queue", "slow")
        assert (done.code, "T06:00+0" in done.out) == (0, True), done.err
        for more, named in (
            (("other", "--cron", "0 6 * *"), "no cron expression"),
            (("daily", "--cron", "0 6 * * *"), "there is a schedule 'daily'"),
            (("other", "--cron", "0 6 * * *", "--input", "[1]"), "not a JSON object"),
        ):
            wrong = site.run(*add, *more)
            assert (wrong.code, wrong.out, named in wrong.err, wrong.err.count("\n")) == (2, "", True, 1), wrong.err
        assert site.run("schedules", "pause", "daily").out == "daily is paused\n"
        row = next(line for line in site.run("schedules", "list").out.splitlines() if line.startswith("daily"))
        assert "paused" in row
        assert site.run("schedules", "resume", "daily").code == 0
        assert site.run("schedules", "remove", "daily").code == 0
        again = site.run("schedules", "remove", "daily")
        assert (again.code, "no schedule 'daily'" in again.err) == (2, True)
    assert site.run("down").code == 0
    assert daemon.wait().code == 0
    submitted = site.trail(missed).of("run.submitted")[0].payload["schedule"]
    assert (submitted["name"], submitted["since"] < submitted["due"]) == ("minutely", True)

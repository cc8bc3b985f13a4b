"""What people do to runs of a daemon, by the command line: signals, answers, pause, cancel, halt, retry, watch."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLOWS = '''
from bailiwick import Run, workflow
from pydantic import BaseModel


class Level(BaseModel):
    level: int


@workflow("levels")
async def levels(run: Run) -> str:
    """Waits for a level, asks for another, then waits for more for ever."""
    first = await run.wait("level", Level)
    second = await run.input(Level, "How high is it now?")
    run.emit(f"{first.level} and {second.level}")
    while (await run.wait("level", Level)).level:
        pass
    return "empty"
'''


async def reached(client: Any, run: str, status: str) -> None:
    """Return once a run stands so."""
    async with asyncio.timeout(60):
        while (await client.run(run)).status != status:
            await asyncio.sleep(0.05)


async def test_a_run_under_control(sites: Callable[[], Any], tmp_path: Path) -> None:
    site = sites()
    flows = tmp_path / "flows.py"
    flows.write_text(FLOWS)
    daemon = site.start("up", "--workflows", str(flows))
    async with site.client(daemon) as client:

        async def says(code: int, *arguments: str) -> Any:
            done = await asyncio.to_thread(site.run, *arguments)
            assert done.code == code, (arguments, done.err)
            assert "Traceback" not in done.err
            return done

        from runtime.gateway.messages import Submission

        run = await client.submit(Submission(task="watch the tank", workflow="levels"))
        await reached(client, run, "waiting")
        assert "not JSON" in (await says(2, "runs", "signal", run, "level", "{level: 3}")).err
        await says(0, "runs", "pause", run, "--reason", "maintenance")
        assert (await client.run(run)).status == "paused"
        await says(0, "runs", "signal", run, "level", '{"level": 3}')
        await says(0, "runs", "resume", run)
        async with asyncio.timeout(60):
            while not (asked := (await says(0, "runs", "questions", "--json")).json):
                await asyncio.sleep(0.05)
        assert [(each["run"], each["question"]) for each in asked] == [(run, "How high is it now?")]
        assert "does not fit" in (await says(2, "runs", "answer", run, '{"level": "high"}')).err
        await says(0, "runs", "answer", run, '{"level": 4}')
        assert "not parked" in (await says(2, "runs", "retry", run)).err
        watching = site.start("runs", "watch", run)
        await says(0, "runs", "signal", run, "level", '{"level": 0}')
        watched = await asyncio.to_thread(watching.wait)
        assert (watched.code, watched.out) == (0, "empty\n"), watched.err
        assert "3 and 4" in watched.err

        other = await client.submit(Submission(task="watch the other", workflow="levels"))
        await reached(client, other, "waiting")
        await says(0, "runs", "cancel", other)
        assert (await client.run(other)).status == "cancelled"
        assert "has ended" in (await says(2, "runs", "cancel", other)).err

        await says(0, "halt", "--reason", "drill")
        assert site.run("status", "--json").json["halted"]
        await says(2, "halt")
        assert "0 runs go on" in (await says(0, "halt", "--release")).out

        file = tmp_path / "trail.jsonl"
        await says(0, "runs", "export", run, str(file))
        assert file.stat().st_mode & 0o077 == 0
        kinds = [json.loads(line)["event"]["kind"] for line in file.read_text().splitlines()]
        assert kinds[0] == "run.submitted"
        assert {"run.paused", "signal.received", "input.answered", "run.ended"} <= {*kinds}
        await says(2, "runs", "export", run, str(file))
        assert f"# Run {run}" in (await says(0, "audit", "report", run[:12])).out
        assert site.run("audit", "verify").code == 0
    assert site.run("down").code == 0
    assert "no runtime is up" in site.run("runs", "cancel", run).err

"""A user's own task on a lab of their own: the driver is killed or interrupted, and `bailiwick resume` finishes it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from runtime.gateway.messages import EventView

COMMAND = Path(sys.executable).parent / "bailiwick"
TASK = "The front door fails. Find out why and fix it."


async def reached(site: Any, running: Any, kind: str) -> EventView:
    """The first event of a kind that a command's runtime records."""
    async with site.client(running) as client, aclosing(client.follow()) as events:
        async for view in events:
            if view.event["kind"] == kind:
                return view
    raise AssertionError(running.said())


async def test_a_killed_driver_takes_everything_down_and_resume_does_the_effect_once(
    sites: Callable[[], Any], premises: Callable[[Any, str], Any]
) -> None:
    site = sites()
    place = premises(site, "full-quota")
    running = site.start("run", TASK, *place.flags, "--approve", "yes")
    await reached(site, running, "staged")
    os.kill(place.lab.pid, signal.SIGSTOP)  # so that the effect cannot end before its driver does
    view = await reached(site, running, "effect.intent")
    running.process.send_signal(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    os.kill(place.lab.pid, signal.SIGCONT)
    assert site.run("runs", "list", "--json").json[0]["status"] == "interrupted"
    done = site.run("resume", *place.flags, "--approve", "yes", "--json")
    assert done.code == 0, done.err
    assert done.json["run"] == view.event["run"]
    assert place.lab.recovered()
    assert place.lab.executions() == site.trail(view.event["run"]).effects() == {"ops.clear_quota": 1}
    assert site.run("audit", "verify").code == 0


async def test_ctrl_c_says_how_to_go_on_and_resume_goes_on(
    sites: Callable[[], Any], premises: Callable[[Any, str], Any]
) -> None:
    site = sites()
    place = premises(site, "config-rollout")
    running = site.start("run", TASK, *place.flags, "--approve", "yes")
    view = await reached(site, running, "staged")
    running.process.send_signal(signal.SIGINT)
    done = running.wait()
    assert done.code == 130
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1] == "bailiwick: interrupted; an open run goes on with `bailiwick resume`"
    assert place.lab.executions() == {}
    done = site.run("resume", view.event["run"], *place.flags, "--approve", "yes", "--json")
    assert done.code == 0, done.err
    assert place.lab.recovered()
    assert place.lab.executions() == site.trail(view.event["run"]).effects() == {"ops.rollback_config": 1}
    assert site.run("audit", "verify").code == 0


def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room(
    sites: Callable[[], Any], premises: Callable[[Any, str], Any]
) -> None:
    """In a mount namespace of its own: a data folder of 160 KiB, which is enough to start and not to finish.

    Without a watermark, which would refuse the run before anything is full.
    """
    site = sites()
    site.environ["BAILIWICK_FREE_SPACE_MB"] = "0"
    place = premises(site, "full-quota")
    site.data.mkdir(mode=0o700)
    flags = " ".join([*place.flags, "--approve yes --json"])
    script = f"""
        mount -t tmpfs -o size=160k,mode=700 none {site.data} || exit 99
        {COMMAND} run {TASK!r} {flags}; echo "$?"
        {COMMAND} audit verify --json
        mount -o remount,size=20m {site.data}
        {COMMAND} resume {flags}; echo "$?"
        {COMMAND} audit verify --json
    """
    namespace = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    done = subprocess.run(
        [*namespace, "sh", "-c", script], env=site.environ, cwd=site.typed_in, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    first, second = [line for line in lines if line.isdigit()]
    objects = [json.loads(line) for line in lines if line.startswith("{")]
    # Whatever hit the wall, the ledger (the runtime ends, 3) or the memory (the run is parked, 8): a line says it.
    assert first in ("3", "8"), done.stderr
    told = [line for line in done.stderr.splitlines() if "bailiwick: " in line]
    assert [line for line in told if "No space left" not in line and "disk is full" not in line] == []
    # Where there is no room to file what the journal has left, verification says so in place of its finding.
    unfiled = [line for line in told if "the journal cannot be filed" in line]
    assert [found["ok"] for found in objects if "ok" in found] == [True] * (2 - len(unfiled)), done.stderr
    assert ([found["status"] for found in objects if "status" in found][-1], second) == ("completed", "0"), done.stderr
    assert place.lab.executions() == {"ops.clear_quota": 1}

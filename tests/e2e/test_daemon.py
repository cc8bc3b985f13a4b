"""The runtime as a daemon: brought up, asked, watched, examined by the doctor, and taken down in order."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECRET = "xyzzy-4711"
TASK = f"The front door fails (ticket {SECRET}). Find out why and fix it."


def private_texts(runtime: Path) -> list[Path]:
    """The files in Ray's folders that hold a word of the task, of a prompt, or of a log the agents read.

    Ray goes on meanwhile: what is gone by the time it is looked at holds nothing.
    """
    words = [SECRET.encode(), b"connection pool exhausted", b"operations engineer", b"rollback_config"]
    homes = [home.resolve() for home in runtime.glob("r-*")]
    found = [Path(folder, name) for home in homes for folder, _, names in os.walk(home) for name in names]
    texts: dict[Path, bytes] = {}
    for path in found:
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                texts[path] = path.read_bytes()
    assert len(texts) > 10, "these are not Ray's folders"
    return [path for path, text in texts.items() if any(word in text for word in words)]


async def approve_all(site: Any, client: Any, run: str) -> list[str]:
    """Follow a run to its end and approve on the command line whatever waits; the tools approved."""
    approved = []
    async for view in client.follow(run=run):
        if view.event["kind"] != "approval.requested":
            continue
        for waiting in await client.approvals():
            shown = await asyncio.to_thread(site.run, "approvals", "show", waiting.approval[:8], "--json")
            assert shown.json["arguments"] == waiting.arguments
            done = await asyncio.to_thread(
                site.run,
                "approvals",
                "approve",
                waiting.approval,
                waiting.digest[:8],
                "--meaning",
                "I looked",
                "--json",
            )
            assert (done.code, done.json["waits"]) == (0, False), done.err
            approved.append(waiting.tool)
    return approved


async def test_a_day_of_a_daemon(sites: Callable[[], Any], premises: Callable[[Any, str], Any]) -> None:
    site = sites()
    place = premises(site, "config-rollout")
    site.environ |= {"BAILIWICK_TOOLS": place.flags[1], "BAILIWICK_POLICY": "lab"}
    daemon = site.start("up")
    async with site.client(daemon) as client:
        status = site.run("status", "--json").json
        assert (status["pid"], status["epoch"]) == (daemon.process.pid, 1)
        assert set(status["parts"]) == {"core", "model", "host", "router", "worker", "reviewer"}
        assert min(status["parts"].values()) > 0
        listed = {each["name"]: each["loaded"] for each in site.run("models", "list", "--json").json}
        assert {name: each["layers"] for name, each in listed.items()} == {
            "smollm2-135m-instruct": 30,
            "all-minilm-l6-v2": 6,
        }
        loads = site.run("audit", "sql", "SELECT decision FROM events WHERE kind = 'model.loaded'", "--json").json
        assert loads["rows"] == [["fell-back" if each["fell_back"] else ""] for each in listed.values()]

        # Nobody is at this terminal: the run waits, and goes on when somebody answers elsewhere.
        asked = await asyncio.to_thread(site.run, "run", TASK)
        assert asked.code == 8, asked.err
        assert "bailiwick approvals" in asked.err.splitlines()[-1]
        [view] = site.run("runs", "list", "--json").json
        assert (view["status"], view["task"]) == ("waiting", TASK)
        [waiting] = site.run("approvals", "list", "--json").json
        assert (waiting["run"], waiting["tool"]) == (view["run"], "ops.rollback_config")
        assert private_texts(site.runtime) == []
        doctor = site.run("doctor", "--json")
        assert doctor.code == 0, doctor.out
        sockets = [check for check in doctor.json["checks"] if check["name"] == "socket"]
        assert len(sockets) > 10
        assert [check for check in sockets if check["level"] != "ok" or "refuses" not in check["found"]] == []

        approved = await approve_all(site, client, view["run"])
        ended = await client.run(view["run"])
        assert ended.status.startswith("completed"), ended
        assert place.lab.recovered()
        assert approved.count("ops.rollback_config") >= place.lab.executions()["ops.rollback_config"] == 1
        trail = site.trail(view["run"])
        assert {each.payload["meaning"] for each in trail.of("approval.answered")} == {"I looked"}
        tail = site.run("audit", "tail", "-n", "5", "--run", view["run"]).out.splitlines()
        assert len(tail) == 5
        assert "run.ended" in tail[-1]
        assert site.run("audit", "verify").code == 0
        assert private_texts(site.runtime) == []
        assert site.run("keys", "shred", "--tenant", "local", "--user", ended.principal).code == 0
        assert SECRET not in site.run("runs", "show", view["run"], "--payloads").out
        assert site.run("audit", "verify").code == 0
        files = [path for path in site.data.rglob("*") if path.is_file()]
        assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert site.run("down").code == 0
    done = daemon.wait()
    assert (done.code, done.out) == (0, "")
    assert [line for line in done.err.splitlines() if not line.startswith("bailiwick is up")] == []
    assert [each.name for each in site.runtime.iterdir() if each.is_dir() or each.is_socket()] == []
    assert site.run("status").code == 3


async def test_the_doctor_tells_the_demos_lab_from_the_runtime(sites: Callable[[], Any]) -> None:
    """While a demo runs, its lab's ports are named as the lab's; all others refuse an unknown caller.

    It waits for a person's answer meanwhile; it is then told to end, and does so in order.
    """
    site = sites()
    demo = site.start("demo", "--fault", "config-rollout", "--json", terminal=True)
    await demo.shows("Approve? Type yes or no: ")
    done = site.run("doctor", "--json", "--data-dir", str(site.data / "demo"))
    demo.process.send_signal(signal.SIGTERM)
    found = [check for check in done.json["checks"] if check["name"] in ("socket", "lab socket")]
    ports = [check["found"] for check in found if check["name"] == "lab socket" and "tcp 127.0.0.1:" in check["found"]]
    assert len(ports) == 3, done.out
    assert [check for check in found if check["level"] != "ok"] == []
    assert [check for check in found if check["name"] == "socket" and "refuses" not in check["found"]] == []
    assert done.code == 0, done.out
    ended = demo.wait()
    assert ended.code == 130, ended.out
    assert ended.out.splitlines()[-1].startswith("bailiwick: interrupted; the lab of this run is gone")
    assert '"resolved_by":' not in ended.out, "a run that did not end has no result"
    assert "SIGTERM" not in ended.out
    assert "Traceback" not in ended.out

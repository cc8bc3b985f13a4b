"""Whatever moment the core dies at, the run ends as if it had not: same result, every effect once, no step twice."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import workflow
from runtime.crashpoints import CrashPoint
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.kinds import Kind

CHILD = Path(__file__).with_name("crash_child.py")
ROOT = CHILD.parents[2]


class Facts(BaseModel):
    """What the model is asked for."""

    service: str


def twice(number: int) -> int:
    return 2 * number


@workflow("everything")
async def everything(run: Run) -> Json:
    """Takes every kind of step there is."""
    values: dict[str, Any] = {"now": (await run.now()).isoformat(), "uuid": await run.uuid()}
    values |= {"random": await run.random(), "step": await run.step(twice, 21)}
    run.emit("begins")
    facts = await run.ask(Facts, "Which service?")
    looked = await run.work("Look, then repair.", tools=("ops.read_logs", "ops.restart_service"), turns=3)
    logs = await run.gather(
        lambda: run.call("ops.read_logs", service="gateway"), lambda: run.call("ops.read_logs", service="orders")
    )
    ticket = run.stage("ops.open_ticket", title=facts.service)
    run.stage("ops.page_on_call", message=ticket.ref("done"))
    run.stage("ops.rollback_config", service=facts.service)
    await run.review()
    receipts = await run.commit()
    run.stage("ops.page_on_call", message="never sent")
    run.discard()
    await run.sleep(0)
    await run.remember("orders was full", {"tool": "ops.restart_service"})
    values["recalled"] = [[each.text, each.tags] for each in await run.recall("orders")]
    values |= {"summary": looked.summary, "logs": [each.lines for each in logs]}
    return values | {"receipts": [[each.tool, each.result] for each in receipts]}


DONE = ["restart_service", "open_ticket", "page_on_call", "rollback_config"]
CALLS = [
    {"tool": "ops.read_logs", "arguments": {"service": "orders"}},
    {"tool": "ops.restart_service", "arguments": {"service": "orders"}},
    {"tool": "done", "arguments": {"summary": "repaired"}},
]


@pytest.fixture
def script(agents: Any) -> Any:
    agents.calls, agents.answer = CALLS, {"service": "orders"}
    return agents


async def test_a_run_goes_to_its_end(live: Any, site: Any, script: Any) -> None:
    async with live(everything) as life:
        view = await life.run("everything", answer=True)
        assert (view.status, view.resolved_by) == ("completed", "model"), view.outcome
        value = life.value(view.run)
        assert value["step"] == 42
        assert value["recalled"] == [["orders was full", {"tool": "ops.restart_service"}]]
        assert value["receipts"] == [[f"ops.{tool}", {"done": tool}] for tool in DONE]
        assert life.repeated(view.run) == []
        assert (await life.core.queries.verify()).ok
    assert [[tool, arguments] for tool, _, arguments in site.effects()] == [
        ["restart_service", {"service": "orders"}],
        ["open_ticket", {"title": "orders"}],
        ["page_on_call", {"message": "open_ticket"}],
        ["rollback_config", {"service": "orders"}],
    ]
    assert script.asked == ["ask", "work", "work", "work", "review"]


async def test_death_after_every_single_event(live: Any, site: Any, script: Any) -> None:
    async with live(everything) as life:
        whole = len(life.events((await life.run("everything", answer=True)).run)) - 1
    assert whole > 35
    for count in range(whole):
        before = len(site.effects())
        site.folder = site.folder.with_name(f"data{count}")
        async with live(everything) as life:
            life.dies_after(count)
            run = await life.submit("everything")
            assert (await life.finish(run, answer=True)).status in ("running", "waiting"), count
            recorded = {event.step: payload for event, payload in life.events(run, Kind.STEP_COMPLETED)}
        async with live(everything) as life:
            view = await life.resume(run, answer=True)
            assert view.status == "completed", (count, view.outcome)
            assert life.repeated(run) == [], count
            value = life.value(run)
            for step, name in (("1", "now"), ("2", "uuid"), ("3", "random")):
                assert value[name] == recorded.get(step, {"value": value[name]})["value"], count
        assert [tool for tool, _, _ in site.effects()[before:]] == DONE, count
        assert len({key for _, key, _ in site.effects()[before:]}) == len(DONE)


@pytest.mark.parametrize("lives", [(1, 3, 5, 2), (20, 4, 6, 6), (28, 3, 3, 3), (30, 2, 4, 5), (2, 30, 4, 4)])
async def test_death_again_and_again(live: Any, site: Any, script: Any, lives: tuple[int, ...]) -> None:
    run = ""
    for count in lives:
        async with live(everything) as life:
            life.dies_after(count)
            if run:
                await life.resume(run, answer=True)
            else:
                run = await life.submit("everything")
                await life.finish(run, answer=True)
    async with live(everything) as life:
        assert (await life.resume(run, answer=True)).status == "completed"
        assert life.repeated(run) == []
    assert [tool for tool, _, _ in site.effects()] == DONE


def life_of(folder: Path, point: str) -> subprocess.CompletedProcess[str]:
    """One life of a core in a process of its own."""
    command = [sys.executable, str(CHILD), str(folder / "data"), point]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("point", list(CrashPoint))
def test_a_killed_process_leaves_enough_behind(tmp_path: Path, point: CrashPoint) -> None:
    died = life_of(tmp_path, f"{point}:2")
    assert died.returncode == -signal.SIGKILL, died.stderr
    again = life_of(tmp_path, "-")
    assert again.stdout.strip() == "completed both", again.stderr
    assert [line.split('"')[1] for line in (tmp_path / "world").read_text().splitlines()] == [
        "restart_service",
        "open_ticket",
    ]
    with Ledger.open(tmp_path / "data", read_only=True) as ledger:
        outcomes = ledger.events(kinds=[Kind.EFFECT_OUTCOME])
    assert len(outcomes) == 2


@pytest.mark.parametrize("close_after", ["run.started", "step.completed", "staged", "review.completed"])
async def test_an_orderly_end_leaves_the_run_open(live: Any, site: Any, script: Any, close_after: str) -> None:
    async with live(everything) as life:
        run = await life.submit("everything")
        while close_after not in [event.kind for event, _ in life.events(run)]:
            await life.core.ledger.beyond(life.core.ledger.last_seq(), 1)
    async with live(everything) as life:
        assert (await life.resume(run, answer=True)).status == "completed"
        assert life.repeated(run) == []
    assert [tool for tool, _, _ in site.effects()] == DONE

"""Whatever moment the core dies at, the run ends as if it had not: same result, every effect once, no step twice."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow, workflow
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
        assert (await life.core.verify()).ok
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


def changed(function: Callable[..., Any]) -> Workflow:
    return Workflow("flow", 1, function, None, ())


async def start(run: Run) -> str:
    await run.now()
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.commit()
    await run.call("ops.read_logs", service="orders")
    return "ended"


async def other_step(run: Run) -> str:
    await run.uuid()
    return "other"


async def other_effect(run: Run) -> str:
    await run.now()
    run.stage("ops.restart_service", service="gateway")
    await run.review()
    await run.commit()
    return "other"


async def one_step_more_before_the_commit(run: Run) -> str:
    await run.now()
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.now()
    await run.commit()
    return "other"


async def an_effect_where_a_step_was(run: Run) -> str:
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.commit()
    return "other"


async def a_step_where_an_effect_was(run: Run) -> str:
    await run.now()
    await run.now()
    return "other"


async def ends_early(run: Run) -> str:
    await run.now()
    return "other"


@pytest.mark.parametrize(
    "function",
    [
        other_step,
        other_effect,
        one_step_more_before_the_commit,
        an_effect_where_a_step_was,
        a_step_where_an_effect_was,
        ends_early,
    ],
)
@pytest.mark.parametrize("outcomes", [0, 1])
async def test_a_changed_workflow_parks_its_run(
    live: Any, site: Any, function: Callable[..., Any], outcomes: int
) -> None:
    async with live(changed(start)) as life:
        # started, now, staged, review, judged twice, intent (and outcome): the commit itself is not recorded yet
        life.dies_after(7 + outcomes)
        run = await life.submit("flow")
        await life.finish(run)
        kinds = [event.kind for event, _ in life.events(run)]
        assert kinds[-1] == (Kind.EFFECT_OUTCOME if outcomes else Kind.EFFECT_INTENT), kinds
    async with live(changed(function)) as life:
        view = await life.resume(run)
        assert view.status == "parked"
        assert life.error(run)["kind"] == "ReplayMismatch"
        assert "the workflow now asks for" in life.error(run)["what"]
        assert run in [row.run for row in life.core.ledger.open_runs()]
    assert len(site.effects()) == 1
    async with live(changed(start)) as life:
        assert (await life.resume(run)).status == "completed"
    assert len(site.effects()) == 1


async def test_a_routed_run_stays_with_its_workflow_whatever_is_installed_later(
    live: Any, site: Any, agents: Any
) -> None:
    async def one(run: Run) -> str:
        """The first."""
        return await run.uuid()

    async def two(run: Run) -> str:
        """The second."""
        return await run.uuid()

    def named(name: str, function: Callable[..., Any]) -> Workflow:
        return Workflow(name, 1, function, None, ())

    agents.choice = {"choice": "one"}
    async with live(named("one", one), named("two", two)) as life:
        life.dies_after(3)
        run = await life.submit()
        await life.finish(run)
    for later in ([named("one", one)], [named("one", one), named("three", two), named("two", two)]):
        async with live(*later) as life:
            life.dies_after(1)
            await life.resume(run)
    async with live(named("one", one)) as life:
        view = await life.resume(run)
        assert (view.status, view.workflow) == ("completed", "one")
    assert agents.asked == ["route"]


async def test_a_run_whose_workflow_is_gone_waits_for_it(live: Any) -> None:
    async with live(changed(start)) as life:
        life.dies_after(2)
        run = await life.submit("flow")
        await life.finish(run)
    async with live(everything) as life:
        assert (await life.resume(run)).status == "parked"
        assert "not installed here" in life.error(run)["what"]
    async with live(changed(start)) as life:
        assert (await life.resume(run)).status == "completed"


async def test_a_run_is_driven_once_however_often_it_is_asked_for(live: Any, site: Any) -> None:
    async with live(changed(start)) as life:
        run = await life.submit("flow")
        life.core.conductor._drive(run)
        await life.core.resume(run)
        await life.finish(run)
        life.core.conductor._drive(run)  # it has ended meanwhile
        await life.finish(run)
        kinds = [event.kind for event, _ in life.events(run)]
    assert kinds.count(Kind.RUN_STARTED) == kinds.count(Kind.RUN_ENDED) == 1
    assert Kind.RUN_RESUMED not in kinds
    assert len(site.effects()) == 1


async def test_a_run_whose_record_is_damaged_is_parked_and_nothing_is_repeated(live: Any, site: Any) -> None:
    async with live(changed(start)) as life:
        life.dies_after(3)
        run = await life.submit("flow")
        await life.finish(run)
        lost = life.events(run)[-1][0].payload
    with duckdb.connect(str(site.folder / "ledger.duckdb")) as connection:
        connection.execute("UPDATE payloads SET data = 'x'::BLOB WHERE id = ?", [lost])
    before = site.effects()
    async with live(changed(start)) as life:
        await life.core.resume(run)
        await life.finish(run)
        parked = life.core.ledger.run_events(run)[-1]
        assert (parked.kind, parked.decision) == (Kind.RUN_PARKED, "integrityerror")
    assert site.effects() == before

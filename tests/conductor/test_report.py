"""The page on a run: everything that matters is on it, and nothing that was recorded can forge a line of it."""

from typing import Any

from runtime.audit_report import report
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow

TASK = "repair it\n## What was done\n- 2026-01-01T00:00:00Z, event 1: **nothing** <script>"


async def repair(run: Run) -> str:
    await run.call("ops.read_logs", service="orders")
    run.stage("ops.restart_service", service="orders")
    run.stage("ops.rollback_config", service="orders")
    await run.review()
    await run.commit()
    return "repaired"


async def looks(run: Run) -> str:
    await run.uuid()
    return "looked"


async def page(life: Any, run: str) -> str:
    return report(await life.core.run(run), await life.core.queries.events(0, run, 500, True))


async def test_the_page_of_a_run(live: Any) -> None:
    async with live(Workflow("flow", 3, repair, None, ())) as life:
        run = (await life.run("flow", answer=True, task=TASK)).run
        text = await page(life, run)
    assert text.count("\n## What was done\n") == 1
    assert "\n- 2026-01-01" not in text
    assert "<script>" not in text.replace("\\<script\\>", "")
    lines = text.splitlines()
    assert lines[0] == f"# Run {run}"
    assert f"- Asked by: {life.user.name}, tenant {life.user.tenant}" in text
    assert "- Workflow: flow version 3" in lines
    decided = text.partition("## What was decided")[2].partition("##")[0]
    assert "suspend ops.rollback_config" in decided
    assert "by approval:rollback" in decided
    assert f"{life.user.name}: yes to ops.rollback_config, seen" in decided
    done = text.partition("\n## What was done\n")[2].partition("##")[0].strip().splitlines()
    assert [line.partition(": ")[2].partition(" {")[0] for line in done] == [
        "step 5.1: ops.restart_service",
        "step 5.1: done,",
        "step 5.2: ops.rollback_config",
        "step 5.2: done,",
    ]
    assert done[2].endswith(f"approved by {life.user.name}")


async def test_the_page_of_a_run_that_changed_nothing(live: Any) -> None:
    async with live(Workflow("flow", 1, looks, None, ())) as life:
        text = await page(life, (await life.run("flow")).run)
    assert "Nothing had to be." in text
    assert "Nothing was changed." in text
    assert "- Outcome: looked" in text

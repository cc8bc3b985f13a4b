"""The page on a run: everything that matters is on it, and nothing that was recorded can forge a line of it."""

from typing import Any

import pytest
from pydantic import BaseModel

from runtime.audit_report import report
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.crashpoints import CrashPoint
from runtime.gate import effectful
from runtime.gateway.messages import EventView
from runtime.sentences import sentence
from store.records.event import NAMES
from store.records.kinds import Kind

from .conftest import Died

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
    [answer] = [line for line in decided.splitlines() if "yes to" in line]
    number = answer.partition("event ")[2].partition(":")[0]
    assert decided.count("suspend ops.rollback_config") == 2
    assert decided.count(f": judged again after the approval (event {number}): suspend ops.rollback_config") == 1
    assert "by approval:rollback" in decided
    assert f"{life.user.name}: yes to ops.rollback_config, seen" in decided
    done = text.partition("\n## What was done\n")[2].partition("##")[0].strip().splitlines()
    assert [line.partition(": ")[2].partition(" {")[0] for line in done] == [
        "step 5.1: ops.restart_service",
        "step 5.1: done,",
        "step 5.2: ops.rollback_config",
        "step 5.2: done,",
    ]
    assert done[2].endswith(f"approved by {life.user.name}; requester and approver are one person")


async def test_the_page_of_a_run_that_changed_nothing(live: Any) -> None:
    async with live(Workflow("flow", 1, looks, None, ())) as life:
        text = await page(life, (await life.run("flow")).run)
    assert "Nothing had to be." in text
    assert "Nothing was changed." in text
    assert "- Outcome: looked" in text


class Level(BaseModel):
    """What is asked for."""

    level: int


async def asks(run: Run) -> str:
    """Ask, which goes wrong in a way that nobody foresaw."""
    return str(await run.ask(Level, "what is it?"))


async def test_the_page_says_what_a_foreign_error_said_and_no_other_line_does(live: Any, agents: Any) -> None:
    agents.answer = TypeError("it is a\tRef" + "!" * 300 + "\nthe prompt was: a secret")
    async with live(Workflow("flow", 1, asks, None, ())) as life:
        view = await life.run("flow")
        ((_, payload),) = life.events(view.run, Kind.STEP_FAILED)
        text = await page(life, view.run)
    assert payload["detail"] == {"raised": {"type": "TypeError", "said": "it is a Ref" + "!" * 189}}
    assert payload["error"]["what"] == "it raised TypeError"
    assert view.outcome == f"it raised TypeError (step 1); `bailiwick audit report {view.run}` says what it said"
    assert '"said":"it is a Ref' in text
    assert "secret" not in text


async def test_the_page_of_a_run_that_has_not_ended_says_how_it_stands_and_what_it_has_seen(live: Any) -> None:
    async with live(Workflow("flow", 3, repair, None, ())) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        lines = (await page(life, run)).splitlines()
        await life.finish(run, answer=True)
        ended = (await page(life, run)).splitlines()
    (labels,) = [line for line in lines if line.startswith("- Labels: ")]
    assert "- State: waiting" in lines
    assert labels == "- Labels: internal, untrusted; seen: tool:ops.read_logs, user"
    assert not [line for line in lines if line.startswith(("- Ended", "- Labels at the end"))]
    assert [line for line in ended if line.startswith("- Ended: completed at ")]
    assert [line for line in ended if line.startswith("- Labels at the end: restricted, untrusted; seen: ")]


async def test_the_page_of_a_fork_says_where_it_comes_from_and_what_it_does_not_repeat(live: Any) -> None:
    async def twice(run: Run) -> str:
        for service in ("orders", "gateway"):
            run.stage("ops.restart_service", service=service)
            await run.review()
            await run.commit()
        return "twice"

    async with live(Workflow("flow", 1, twice, None, ())) as life:
        source = (await life.run("flow")).run
        assert "- Forked" not in await page(life, source)
        assert (await life.core.run(source)).forked == ""
        made = await life.core.fork(source, "4", life.user, again=True)
        await life.finish(made.run)
        view, text = await life.core.run(made.run), await page(life, made.run)
        [staged] = [event for event, _ in life.events(source, Kind.STAGED) if event.step == "4"]
    assert view.forked == f"from run {source} before step 4, event {staged.seq}"
    lines = text.splitlines()
    assert f"- Forked: {view.forked}, at the word of {life.user.name}" in lines
    assert "- Done by the source, not repeated: ops.restart_service (step 3.1)" in lines
    assert "- Begun by the source since, may be repeated: ops.restart_service (step 6.1)" in lines


async def restart(run: Run) -> str:
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.commit()
    return "restarted"


def done(text: str) -> list[str]:
    """The lines on what was done, without time and event."""
    lines = text.partition("\n## What was done\n")[2].partition("##")[0].strip().splitlines()
    return [line.partition(": ")[2] for line in lines]


@pytest.mark.parametrize(
    ("point", "became"),
    [
        (CrashPoint.AFTER_INTENT, "did not happen; called again under the same key"),
        (CrashPoint.AFTER_CALL, "happened"),
    ],
)
async def test_an_effect_that_was_in_doubt_is_told_from_one_that_was_not(
    live: Any, site: Any, monkeypatch: Any, point: CrashPoint, became: str
) -> None:
    def die(at: CrashPoint) -> None:
        if at == point:
            raise Died

    with monkeypatch.context() as patched:
        patched.setattr(effectful, "reach", die)
        async with live(Workflow("flow", 1, restart, None, ())) as life:
            run = (await life.run("flow")).run
            assert done(await page(life, run))[1:] == ["step 3.1: intent only, outcome unknown"]
    async with live(Workflow("flow", 1, restart, None, ())) as life:
        assert (await life.resume(run)).status == "completed"
        lines = done(await page(life, run))
        [(intent, _)] = life.events(run, Kind.EFFECT_INTENT)
    assert len(lines) == 2
    unknown = f"step 3.1: intent at event {intent.seq}, outcome unknown when epoch {intent.epoch} ended"
    assert lines[1].startswith(f"{unknown}; ops.effect_status was asked: it {became}; outcome: done, ")
    assert len(site.effects()) == 1


async def test_an_effect_settled_by_a_person_is_not_open(live: Any, site: Any) -> None:
    async def depend(run: Run) -> str:
        run.stage("ops.set_dependency", service="orders", dependency="gateway")
        await run.review()
        await run.commit()
        return "set"

    site.trouble["set_dependency"] = ["lost"]
    async with live(Workflow("flow", 1, depend, None, ())) as life:
        run = (await life.run("flow", answer=True)).run
        assert done(await page(life, run))[1:] == [
            "step 3.1: intent only, outcome unknown",
            "step 3.1: nobody knows whether it happened, the tool cannot be asked and takes no key",
        ]
        await life.core.settle(run, "", True, None, life.user, "saw it")
        await life.finish(run)
        lines = done(await page(life, run))
    assert lines[2:] == [f"step 3.1: {life.user.name} said that it happened", "step 3.1: done, null"]
    assert not any("intent only" in line for line in lines)


async def test_every_event_is_told_in_a_sentence(live: Any) -> None:
    async def long(run: Run) -> str:
        await run.now()
        await run.uuid()
        run.stage("ops.rollback_config", service="orders")
        await run.review()
        await run.commit()
        return "done"

    async with live(Workflow("flow", 1, long, None, ())) as life:
        run = await life.submit("flow")
        await life.until_waiting()
        await life.core.pause(run, life.user, "maintenance")
        assert (await life.resume(run, answer=True)).status == "completed"
        text = await page(life, run)
        views = await life.core.queries.events(0, run, 500, True)
    order = text.partition("\n## In order\n")[2].partition("##")[0]
    kinds = {view.event["kind"] for view in views}
    assert not [kind for kind in kinds if f": {kind}" in order]
    for said in (
        f"gateway: takes the task from {life.user.name}",
        "reads the clock",
        "draws an identifier",
        f"{life.user.name}: pauses the run: maintenance",
        "policy: suspend ops.rollback_config",
        "policy: judged again after the approval",
    ):
        assert said in order, said
    assert f"{life.user.name}: pauses the run: maintenance" in text.partition("## What was done")[0]


def test_an_event_without_its_payload_is_told_by_its_columns() -> None:
    event = dict.fromkeys(NAMES, "x") | {
        "actor": "core",
        "tool": "ops.act",
        "payload": "p",
        "decision": "d",
        "cause": 0,
    }
    site = (
        "core.",
        "halt.",
        "workflow.",
        "mirror.",
        "traces.",
        "notifying.",
        "ledger.",
        "keys.",
        "payloads.",
        "audit.",
    )
    site += ("clock.", "directory.", "token.", "budget.", "rates.", "policy.", "tool.", "cost.", "grant.added")
    for kind in [
        each
        for each in Kind
        if not each.startswith((*site, "grant.revoked", "schedule.", "model.loaded", "model.accepted"))
    ]:
        told = sentence(EventView(event={**event, "kind": kind}, hash="h", gone="it was destroyed"))
        assert kind not in told, kind
        assert kind == Kind.DECISION or told.endswith("(it was destroyed)"), told

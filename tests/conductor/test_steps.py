"""Steps one by one: what they record, how they fail, what they cost, and what they are labelled with."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Fallback, Workflow
from runtime.narration import narrate
from store.ledger.errors import LedgerFailed
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.errors import (
    BailiwickError,
    InDoubt,
    SettingsError,
    ToolFailed,
    Unreachable,
    describe,
    revive,
)
from store.records.kinds import Kind
from store.records.labels import Integrity
from tools.host import BadArguments, BadResult, StaleEpoch

Function = Callable[..., Any]


def flow(function: Function, fallback: Fallback | None = None) -> Workflow:
    return Workflow("flow", 1, function, fallback, ())


async def by_rule(run: Run) -> str:
    """The rules."""
    return "by rule"


async def test_a_failed_read_is_the_same_error_on_replay(live: Any, site: Any) -> None:
    site.trouble["read_logs"] = ["error"]

    async def careful(run: Run) -> Json:
        try:
            await run.call("ops.read_logs", service="orders")
        except ToolFailed as error:
            await run.sleep(0)
            return [type(error).__name__, str(error)]
        return None

    async with live(flow(careful)) as life:
        life.dies_after(4)
        run = await life.submit("flow")
        await life.finish(run)
    async with live(flow(careful)) as life:
        assert (await life.resume(run)).status == "completed"
        assert life.value(run) == ["ToolFailed", "the tool answered with an error (ops.read_logs)"]
    assert site.reads == []


@pytest.mark.parametrize(
    ("error", "revived"),
    [
        (BadArguments("w", "x", "y"), ToolFailed),
        (BadResult("w", "x", "y"), ToolFailed),
        (LedgerFailed("w", "x", "y"), Unreachable),
        (InDoubt("w", "x", "y"), InDoubt),
        (StaleEpoch("w", "x", "y"), BailiwickError),
    ],
)
def test_a_revived_error_is_caught_as_the_live_one_was(error: BailiwickError, revived: type[BailiwickError]) -> None:
    again = revive(**describe(error))
    assert type(again) is revived
    assert isinstance(error, revived)
    assert str(again) == str(error)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda run: run.call("ops.restart_service", service="orders"), "only a local read runs at once"),
        (lambda run: run.call("ops.send_mail", to="x"), "only a local read runs at once"),
        (lambda run: run.step(lambda: {1, 2}), "is not JSON that can be kept"),
    ],
)
async def test_what_a_step_refuses(live: Any, call: Any, what: str) -> None:
    async def wrong(run: Run) -> None:
        await call(run)

    async with live(flow(wrong)) as life:
        view = await life.run("flow")
        assert view.status == "failed"
        assert what in view.outcome


async def test_a_tool_that_nobody_offers_parks_the_run(live: Any) -> None:
    async def early(run: Run) -> None:
        await run.call("ops.teleport")

    async with live(flow(early)) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["what"]) == ("parked", "no such tool")


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), {"a": {3: 4}}, 2**60])
async def test_a_result_that_is_not_json_fails_the_run(live: Any, value: Any) -> None:
    async def odd(run: Run) -> Any:
        return value

    async with live(flow(odd)) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["what"]) == ("failed", "the workflow's result is not JSON")
        assert life.core.ledger.open_runs() == []


async def test_a_bug_fails_the_run_and_tells_nothing_of_its_data(live: Any) -> None:
    async def buggy(run: Run) -> None:
        raise KeyError("a secret")

    async with live(flow(buggy)) as life:
        view = await life.run("flow")
        assert (view.status, view.outcome) == ("failed", "the workflow raised KeyError")


async def test_one_branch_fails_and_the_others_end_first(live: Any, site: Any) -> None:
    ended = []

    async def slow(run: Run) -> None:
        await run.sleep(0.05)
        ended.append(await run.uuid())

    async def fails(run: Run) -> None:
        raise ToolFailed("no")

    async def both(run: Run) -> str:
        try:
            await run.gather(lambda: fails(run), lambda: slow(run))
        except ToolFailed as error:
            return f"{error.what} {len(ended)} {(await run.uuid()) > ''}"
        return ""

    async with live(flow(both)) as life:
        view = await life.run("flow")
        assert view.outcome == "no 1 True"
        assert [event.step for event, _ in life.events(view.run, Kind.STEP_COMPLETED)] == ["1.2.1", "1.2.2", "2"]


async def test_a_run_that_takes_too_long_fails_as_a_timeout(live: Any) -> None:
    async def endless(run: Run) -> None:
        await run.gather(lambda: asyncio.sleep(60), lambda: asyncio.sleep(60))

    async with live(flow(endless, by_rule), run_timeout_s=0.05) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "Timeout")
        assert not [task for task in asyncio.all_tasks() if "sleep" in repr(task.get_coro())]


async def test_an_effect_under_way_is_not_broken_off_by_the_runs_limit(live: Any, site: Any) -> None:
    site.trouble["restart_service"] = ["lost", "lost"]  # half a second of pauses, and then it works

    async def patient(run: Run) -> str:
        run.stage("ops.restart_service", service="orders")
        await run.review()
        await run.commit()
        return "done"

    async with live(flow(patient), run_timeout_s=0.2) as life:
        assert (await life.run("flow")).status == "completed"
    assert len(site.effects()) == 1


async def test_a_timeout_of_the_workflows_own_is_not_the_runs(live: Any) -> None:
    async def impatient(run: Run) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(5)

    async with live(flow(impatient)) as life:
        view = await life.run("flow")
        assert view.outcome == "the workflow raised TimeoutError"


async def test_what_was_emitted_is_not_emitted_again(live: Any) -> None:
    async def talks(run: Run) -> None:
        run.emit("one")
        await run.now()
        run.emit("two")

    async with live(flow(talks)) as life:
        life.dies_after(3)
        run = await life.submit("flow")
        await life.finish(run)
    async with live(flow(talks)) as life:
        assert (await life.resume(run)).status == "completed"
        assert [payload["text"] for _, payload in life.events(run, Kind.NOTE)] == ["one", "two"]


async def test_a_memory_is_kept_once_though_its_event_was_lost(live: Any) -> None:
    async def remembers(run: Run) -> Json:
        await run.remember("a full disk", {"tool": "x"})
        return [memory.text for memory in await run.recall("a full disk", limit=5)]

    async with live(flow(remembers)) as life:
        life.dies_after(1)
        run = await life.submit("flow")
        await life.finish(run)
        assert life.events(run, Kind.STEP_COMPLETED) == []
    async with live(flow(remembers)) as life:
        await life.resume(run)
        assert life.value(run) == ["a full disk"]


async def test_what_was_read_stays_untrusted_in_the_next_life(live: Any, site: Any) -> None:
    async def reads(run: Run) -> str:
        await run.call("ops.list_services")
        await run.call("ops.read_logs", service="orders")
        run.stage("ops.restart_service", service="orders")
        await run.review()
        await run.commit()
        return "done"

    def labels(life: Any, run: str, kind: Kind) -> list[Integrity]:
        return [event.labels.integrity for event, _ in life.events(run, kind) if event.labels]

    async with live(flow(reads), policy="strict") as life:
        run = await life.submit("flow")
        await life.until_waiting()
        steps = labels(life, run, Kind.STEP_COMPLETED)
        assert steps == [Integrity.TRUSTED, Integrity.UNTRUSTED]
    async with live(flow(reads), policy="strict") as life:
        await life.core.resume(run)
        await life.until_waiting()
        (waiting,) = await life.core.waiting()
        assert waiting.policies == ("approval:untrusted",)
        assert waiting.labels["integrity"] == "untrusted"
        assert "tool:ops.read_logs" in waiting.labels["sources"]
        assert (await life.finish(run, answer=True)).status == "completed"
    assert len(site.effects()) == 1
    assert site.reads == ["list_services", "read_logs"]


@pytest.mark.parametrize(("attached", "asks"), [((), 0), (("pasted from elsewhere",), 1)])
async def test_an_attachment_makes_the_run_untrusted(live: Any, attached: tuple[str, ...], asks: int) -> None:
    async def repairs(run: Run) -> None:
        run.stage("ops.restart_service", service="orders")
        await run.review()
        await run.commit()

    async with live(flow(repairs), policy="strict") as life:
        view = await life.run("flow", answer=True, attachments=attached)
        assert view.status == "completed"
        assert len(life.events(view.run, Kind.APPROVAL_REQUESTED)) == asks
        started = life.events(view.run, Kind.RUN_STARTED)[0][0]
        assert started.labels.integrity == (Integrity.UNTRUSTED if attached else Integrity.TRUSTED)


async def test_memories_bring_their_labels_with_them(live: Any) -> None:
    async def writes(run: Run) -> None:
        await run.call("ops.read_logs", service="orders")
        await run.remember("what a log said", {})

    async def recalls(run: Run) -> None:
        await run.recall("what a log said")
        await run.now()

    async with live(Workflow("writes", 1, writes, None, ()), Workflow("recalls", 1, recalls, None, ())) as life:
        await life.run("writes")
        view = await life.run("recalls")
        last = life.events(view.run, Kind.STEP_COMPLETED)[-1][0]
    assert last.labels.integrity == Integrity.UNTRUSTED
    assert "tool:ops.read_logs" in last.labels.sources


async def test_a_core_that_cannot_start_lets_go_of_the_ledger(live: Any, site: Any) -> None:
    with pytest.raises(SettingsError):
        async with live(policy=str(site.folder / "nowhere")):
            pass
    Ledger.open(site.folder).close()


async def test_events_are_waited_for(live: Any) -> None:
    async with live(flow(by_rule)) as life:
        await life.core.ledger.flushed()
        waiting = asyncio.ensure_future(life.core.events(life.core.ledger.last_seq(), "", 10, True, 30))
        await asyncio.sleep(0)
        await life.run("flow")
        found = await asyncio.wait_for(waiting, 10)
        assert [view.event["kind"] for view in found][:1] == ["run.submitted"]


async def test_every_event_of_a_run_can_be_told(live: Any, agents: Any) -> None:
    async def talks(run: Run) -> str:
        run.emit("a\x1b[31mnote")
        await run.call("ops.read_logs", service="orders")
        run.stage("ops.rollback_config", service="orders")
        await run.review()
        await run.commit()
        return "done"

    async with live(flow(talks)) as life:
        view = await life.run("flow", answer=True)
        lines = [narrate(event) for event in await life.core.events(0, view.run, 100, True, 0)]
    told = [line.text for line in lines if line]
    assert "a [31mnote" in told
    assert "approves the change set: fine" in told
    assert told.count("suspend ops.rollback_config by approval:rollback") == 1, "policy is asked again after the yes"
    assert [line.mark for line in lines if line and "waits for a person" in line.text] == ["person"]
    assert any(text.startswith("outcome on disk: ops.rollback_config") for text in told)
    assert told[-2:] == ["committed 1 of 1 effects", "completed: done"]

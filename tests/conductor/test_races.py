"""What happens at once or goes wrong in between: no control races another, and nothing is done, taken or told twice."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from store.records.errors import BailiwickError, BudgetExceeded, Denied, SettingsError, ToolFailed
from store.records.kinds import Kind
from store.records.labels import Integrity


class Level(BaseModel):
    """A signal."""

    level: int = 0


def flow(function: Callable[..., Awaitable[Any]], name: str = "flow") -> Workflow:
    return Workflow(name, 1, function, None, ())


async def two_signals(run: Run) -> list[int]:
    return [(await run.wait("level", Level)).level for _ in range(2)]


async def moves(run: Run) -> str:
    for number in "123":
        run.stage("ops.move", what=number, to="store")
    await run.review()
    await run.commit()
    return "moved"


async def waits(life: Any, run: str) -> None:
    """Return once the run waits."""
    while not (run in life.core.conductor.live and life.core.conductor.live[run].waiting):
        await asyncio.sleep(0.002)


async def until(life: Any, run: str, kind: Kind, count: int = 1) -> None:
    while len(life.events(run, kind)) < count:
        await asyncio.sleep(0.002)


async def test_a_signal_that_comes_while_the_run_is_resumed_is_taken_once(live: Any) -> None:
    async with live(flow(two_signals)) as life:
        for _ in range(5):
            run = await life.submit("flow")
            await waits(life, run)
            await life.core.pause(run, life.user, "")
            await asyncio.gather(
                life.core.signal(run, "level", {"level": 1}, life.user), life.core.resume(run, life.user)
            )
            await life.core.signal(run, "level", {"level": 2}, life.user)
            await life.finish(run)
            assert life.value(run) == [1, 2]


async def test_many_who_stop_a_run_at_once(live: Any) -> None:
    async with live(flow(two_signals)) as life:
        for idle in (False, True):
            run = await life.submit("flow")
            await waits(life, run)
            if idle:
                await life.core.pause(run, life.user, "")
            both = life.core.cancel(run, life.user, ""), life.core.cancel(run, life.user, "")
            done = await asyncio.gather(*both, life.core.resume(run, life.user), return_exceptions=True)
            assert all(isinstance(each, SettingsError | list | None) for each in done), done
            await life.finish(run)
            assert len(life.events(run, Kind.RUN_ENDED)) == 1
            assert (await life.core.run(run)).status == "cancelled"


async def test_pausing_a_busy_run(live: Any) -> None:
    async def busy(run: Run) -> None:
        while True:
            await run.uuid()

    async with live(flow(busy)) as life:
        run = await life.submit("flow")
        for resumed in range(3):
            await until(life, run, Kind.RUN_RESUMED, resumed)
            await until(life, run, Kind.STEP_COMPLETED)
            await life.core.pause(run, life.user, "")
            assert (await life.core.run(run)).status == "paused"
            await life.core.resume(run, life.user)
        await life.core.cancel(run, life.user, "")
        assert life.repeated(run) == []


async def test_whoever_cancels_twice_breaks_no_commit_off(live: Any, site: Any) -> None:
    site.trouble["move"] = ["lost", "lost"]  # half a second of pauses, and then it works
    async with live(flow(moves), policy="strict") as life:
        run = await life.submit("flow")
        await until(life, run, Kind.EFFECT_INTENT)
        await asyncio.gather(life.core.cancel(run, life.user, ""), life.core.cancel(run, life.user, ""))
        assert len(site.effects()) == 3
        assert life.events(run)[-1][0].decision == "cancelled"


async def test_a_half_done_commit_is_not_cancelled(live: Any, site: Any) -> None:
    site.trouble["move"] = ["", "lost", "lost", "lost"]  # more than a second of pauses at the second
    async with live(flow(moves), policy="strict") as life:
        run = await life.submit("flow")
        await until(life, run, Kind.EFFECT_INTENT, 2)
        await life.core.halt(life.user, "")
        assert (await life.finish(run)).status == "parked"
        with pytest.raises(SettingsError, match=r"nobody knows|half done"):
            await life.core.cancel(run, life.user, "")
        site.trouble.clear()
        await life.core.release(life.user, "")
        assert (await life.finish(run)).outcome == "moved"
    assert len(site.effects()) == 3


async def test_a_commit_that_failed_stays_failed_though_its_undoing_was_interrupted(live: Any, site: Any) -> None:
    async with live(flow(moves), policy="strict") as life:
        budgets = life.core.conductor.services.gate.budgets
        reserve = budgets.reserve_call

        def refuses(asked: Any) -> Any:
            if asked.step == "5.3":
                raise BudgetExceeded("the day's budget is spent")
            return reserve(asked)

        budgets.reserve_call = refuses
        run = await life.submit("flow")
        append, seen = life.core.ledger.append, []

        def until_undone(draft: Any, payload: Any = None) -> Any:
            pending = append(draft, payload)
            if draft.tool == "ops.move_back" and draft.kind == Kind.EFFECT_OUTCOME and not seen:
                seen.append(draft)
                life.dies_after(0)
            return pending

        life.core.ledger.append = until_undone
        await life.finish(run, answer=True)
    async with live(flow(moves), policy="strict") as life:
        view = await life.resume(run, answer=True)
        assert (view.status, "the day's budget is spent" in view.outcome) == ("failed", True)
        assert view.outcome.count("is undone") == 2
    done = [(tool, arguments["what"]) for tool, _, arguments in site.effects()]
    assert done == [("move", "1"), ("move", "2"), ("move_back", "2"), ("move_back", "1")]


async def test_an_effect_with_anothers_result_is_undone_with_what_it_was_given(live: Any, site: Any) -> None:
    site.trouble["rollback_config"] = ["error"] * 9

    async def refers(run: Run) -> str:
        ticket = run.stage("ops.open_ticket", title="t")
        run.stage("ops.move", what=ticket.ref("done"), to="store")
        run.stage("ops.rollback_config", service="orders")
        await run.review()
        try:
            await run.commit()
        except ToolFailed as error:
            return error.what
        return ""

    async with live(flow(refers)) as life:
        life.core.conductor.services.gate.policy.decide = lambda call: _allowed(life)
        assert "ops.move is undone" in (await life.run("flow")).outcome
    assert [arguments["what"] for tool, _, arguments in site.effects() if tool == "move_back"] == ["open_ticket"]


def _allowed(life: Any) -> Any:
    from runtime.gate.decision import Decision

    return Decision("allow", (), life.core.conductor.services.gate.policy.digest, ())


async def test_a_first_whose_winner_is_parked_can_be_resumed(live: Any, site: Any) -> None:
    async def limited(run: Run) -> str:
        return await run.limit(60, lambda: moves(run))

    async with live(flow(limited), policy="strict") as life:
        await life.core.halt(life.user, "")
        run = (await life.run("flow")).run
        assert (await life.core.run(run)).status == "parked"
        await life.core.release(life.user, "")
        assert (await life.finish(run)).outcome == "moved"
    assert len(site.effects()) == 3


async def test_what_parks_a_run_cannot_be_caught(live: Any, site: Any) -> None:
    async def careless(run: Run) -> str:
        try:
            return await moves(run)
        except BailiwickError:
            run.emit("never mind")
        return "not moved"

    async with live(flow(careless), policy="strict") as life:
        await life.core.halt(life.user, "")
        run = (await life.run("flow")).run
        assert life.events(run, Kind.NOTE) == []
        await life.core.release(life.user, "")
        assert (await life.finish(run)).outcome == "moved"


async def test_a_child_brings_its_labels_however_it_ends(live: Any) -> None:
    async def reads(run: Run) -> None:
        logs = await run.call("ops.read_logs", service="orders")
        raise Denied(logs.lines[0])

    async def parent(run: Run) -> str:
        try:
            await run.child("child", "read")
        except Denied as error:
            return error.what
        return ""

    async with live(flow(parent), flow(reads, "child")) as life:
        view = await life.run("flow")
        [(ended, _)] = life.events(view.run, Kind.RUN_ENDED)
        assert ended.labels.integrity == Integrity.UNTRUSTED
        assert "tool:ops.read_logs" in ended.labels.sources


async def test_a_paused_child_stays_paused_when_its_parent_is_resumed(live: Any) -> None:
    async def parent(run: Run) -> list[int]:
        found: list[int] = await run.child("child", "wait")
        return found

    flows = flow(parent), flow(two_signals, "child")
    async with live(*flows) as life:
        run = await life.submit("flow")
        await until(life, f"{run}-1", Kind.WAIT_BEGUN)
        await life.core.pause(f"{run}-1", life.user, "")
        assert (await life.finish(run)).status == "parked"
    async with live(*flows) as life:
        await life.core.resume()
        await life.finish(run)
        assert (await life.core.run(f"{run}-1")).status == "paused"
        await life.core.pause(run, life.user, "")
        await life.core.resume(f"{run}-1", life.user)
        for level in (1, 2):
            await life.core.signal(f"{run}-1", "level", {"level": level}, life.user)
        await life.finish(f"{run}-1")
        assert (await life.core.run(run)).status == "paused"
        await life.core.resume(run, life.user)
        await life.finish(run)
        assert life.value(run) == [1, 2]


async def test_a_computation_that_raises_is_on_record(live: Any) -> None:
    async def computes(run: Run) -> str:
        try:
            await run.step(int, "x")
        except BailiwickError as error:
            said = error.what
        await run.wait("level", Level)
        return said

    async with live(flow(computes)) as life:
        run = await life.submit("flow")
        await waits(life, run)
    async with live(flow(computes)) as life:
        await life.core.signal(run, "level", {}, life.user)
        assert (await life.resume(run)).outcome == "it raised ValueError"


async def test_a_run_that_waits_behind_a_change_goes_the_old_way(live: Any) -> None:
    async def before(run: Run) -> str:
        await run.wait("level", Level)
        return "old"

    async def after(run: Run) -> str:
        if run.patched("a number first"):
            await run.random()
        await run.wait("level", Level)
        return "new" if run.patched("a number first") else "old"

    async with live(flow(before)) as life:
        run = await life.submit("flow")
        await waits(life, run)
    async with live(flow(after)) as life:
        await life.core.signal(run, "level", {}, life.user)
        assert (await life.resume(run)).outcome == "old"


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "\ud800"])
async def test_signals_have_names(live: Any, name: str) -> None:
    async with live(flow(two_signals)) as life:
        run = await life.submit("flow")
        with pytest.raises(SettingsError, match="a signal has a name"):
            await life.core.signal(run, name, None, life.user)
        with pytest.raises(BailiwickError):
            await life.core.signal(run, "level", float("nan"), life.user)
        await life.core.cancel(run, replace(life.user, name="boss", roles=("admin",)), "")

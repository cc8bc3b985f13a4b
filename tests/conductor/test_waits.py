"""What a run waits for, and what people do to it from outside: across restarts, and whatever comes first."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow, workflow
from store.records.errors import BailiwickError, ChildFailed, Denied, SettingsError, Timeout
from store.records.kinds import Kind
from store.records.labels import Integrity


class Reading(BaseModel):
    """What a signal or an answer says."""

    level: int


def flow(function: Callable[..., Awaitable[Any]], name: str = "flow", **more: Any) -> Workflow:
    return Workflow(name, 1, function, None, (), **more)


async def until(life: Any, run: str, kind: Kind, count: int = 1) -> None:
    """Return once the run has recorded so many events of a kind."""
    while len(life.events(run, kind)) < count:
        await asyncio.sleep(0.005)


async def two_signals(run: Run) -> list[int]:
    return [(await run.wait("level", Reading)).level for _ in range(2)]


async def test_signals_wait_for_the_wait_and_are_taken_once(live: Any) -> None:
    async with live(flow(two_signals)) as life:
        run = await life.submit("flow")
        await life.core.signal(run, "other", {"level": 0}, life.user)
        await life.core.signal(run, "level", {"level": 1}, life.user)
        await until(life, run, Kind.STEP_COMPLETED)
    async with live(flow(two_signals)) as life:
        await life.core.resume(run)
        while not (run in life.core.conductor.live and life.core.conductor.live[run].waiting):
            await asyncio.sleep(0.005)
        assert (await life.core.run(run)).status == "waiting"
        await life.core.signal(run, "level", {"level": 2}, life.user)
        await life.finish(run)
        assert life.value(run) == [1, 2]
        [_, signal, *_] = life.events(run, Kind.SIGNAL_RECEIVED)
        [first, _] = life.events(run, Kind.STEP_COMPLETED)
        assert first[0].cause == signal[0].seq


async def test_a_signal_of_a_parked_or_stopped_runtime_is_kept(live: Any) -> None:
    async with live(flow(two_signals)) as life:
        run = await life.submit("flow")
        await life.core.pause(run, life.user, "maintenance")
        await life.core.signal(run, "level", {"level": 1}, life.user)
        await life.core.signal(run, "level", {"level": 2}, life.user)
    async with live(flow(two_signals)) as life:
        assert await life.core.resume() == []
        assert (await life.core.run(run)).status == "paused"
        assert (await life.resume(run)).status == "completed"
        assert life.value(run) == [1, 2]


async def test_a_signal_that_does_not_fit_and_one_of_somebody_else(live: Any) -> None:
    async def wait(run: Run) -> int:
        return (await run.wait("level", Reading)).level

    async with live(flow(wait)) as life:
        run = await life.submit("flow")
        await life.core.signal(run, "level", {"level": "high"}, life.user)
        assert (await life.finish(run)).status == "failed"
        assert "does not fit Reading" in (await life.core.run(run)).outcome
        run = await life.submit("flow")
        stranger = replace(life.user, name="eve", roles=("requester",))
        with pytest.raises(Denied, match="eve may not control this run"):
            await life.core.signal(run, "level", {"level": 1}, stranger)
        with pytest.raises(SettingsError, match="no run begins"):
            await life.core.cancel(run, replace(life.user, tenant="other"), "")
        colleague = replace(life.user, name="bob", roles=("approver",))
        await life.core.signal(run, "level", {"level": 3}, colleague)
        await life.finish(run)
        assert life.value(run) == 3
        assert life.events(run, Kind.RUN_ENDED)[0][0].labels.integrity == Integrity.UNTRUSTED
        with pytest.raises(SettingsError, match="the run has ended"):
            await life.core.signal(run, "level", {"level": 1}, life.user)


async def test_a_sleep_ends_when_it_was_to_end_though_the_runtime_was_down(live: Any) -> None:
    async def nap(run: Run) -> str:
        await run.sleep(1.0)
        return "awake"

    loop = asyncio.get_running_loop()
    async with live(flow(nap), run_timeout_s=0.2) as life:
        begun = loop.time()
        run = await life.submit("flow")
        await until(life, run, Kind.WAIT_BEGUN)
        due = life.events(run, Kind.WAIT_BEGUN)[0][1]["due"]
    await asyncio.sleep(1.0 - (loop.time() - begun))
    async with live(flow(nap), run_timeout_s=0.2) as life:
        assert (await life.resume(run)).outcome == "awake"
        [(_, payload)] = life.events(run, Kind.WAIT_BEGUN)
        assert payload["due"] == due


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e12])
async def test_no_time_to_sleep(live: Any, seconds: float) -> None:
    async def nap(run: Run) -> None:
        await run.sleep(seconds)

    async with live(flow(nap)) as life:
        view = await life.run("flow")
        assert (view.status, "ten years" in view.outcome) == ("failed", True)


async def asks(run: Run) -> int:
    return (await run.input(Reading, "How high is it?", to="operator", expires_s=60)).level


async def test_a_question_to_a_person(live: Any) -> None:
    async with live(flow(asks)) as life:
        operator = replace(life.user, name="ann", roles=("operator",))
        run = await life.submit("flow")
        await until(life, run, Kind.INPUT_REQUESTED)
        assert (await life.core.run(run)).status == "waiting"
    async with live(flow(asks)) as life:
        await life.core.resume(run)
        while not life.core.conductor.live or not life.core.conductor.live[run].questions:
            await asyncio.sleep(0.005)
        with pytest.raises(Denied, match="was not asked"):
            await life.core.reply(run, "", {"level": 1}, life.user)
        with pytest.raises(SettingsError, match="does not fit"):
            await life.core.reply(run, "", {"level": "high"}, operator)
        with pytest.raises(SettingsError, match="no such question"):
            await life.core.reply(run, "7", {"level": 1}, operator)
        await life.core.reply(run, "", {"level": 4}, operator)
        with pytest.raises(SettingsError):
            await life.core.reply(run, "", {"level": 5}, operator)
        await life.finish(run)
        assert life.value(run) == 4
        assert [event.principal for event, _ in life.events(run, Kind.INPUT_ANSWERED)] == ["ann"]
        assert len(life.events(run, Kind.INPUT_REQUESTED)) == 1


async def test_an_answer_that_outlived_the_core_that_took_it(live: Any) -> None:
    async with live(flow(asks)) as life:
        run = await life.submit("flow")
        await until(life, run, Kind.INPUT_REQUESTED)
        life.dies_after(1)  # the answer is on disk, the step that takes it is not
        await life.core.reply(run, "", {"level": 4}, replace(life.user, roles=("operator",)))
        await life.finish(run)
    async with live(flow(asks)) as life:
        await life.resume(run)
        assert life.value(run) == 4


async def test_nobody_answers(live: Any) -> None:
    async def hurry(run: Run) -> str:
        try:
            await run.input(Reading, "How high is it?", expires_s=0.01)
        except Timeout as error:
            return error.what
        return ""

    async with live(flow(hurry)) as life:
        assert (await life.run("flow")).outcome == "nobody answered in time"


async def test_cancel_at_an_await(live: Any) -> None:
    async with live(flow(two_signals)) as life:
        run = await life.submit("flow")
        await until(life, run, Kind.WAIT_BEGUN)
        await life.core.cancel(run, life.user, "not needed")
        assert (await life.core.run(run)).status == "cancelled"
        with pytest.raises(SettingsError, match="has ended"):
            await life.core.cancel(run, life.user, "again")
        [(event, payload)] = life.events(run, Kind.RUN_CANCELLING)
        assert (event.principal, payload["reason"]) == (life.user.name, "not needed")


async def test_cancel_of_a_run_that_nobody_drives(live: Any) -> None:
    async with live(flow(two_signals)) as life:
        run = await life.submit("flow")
        await life.core.pause(run, life.user, "")
        with pytest.raises(SettingsError, match="paused already"):
            await life.core.pause(run, life.user, "")
        await life.core.cancel(run, life.user, "")
        assert (await life.core.run(run)).status == "cancelled"


async def test_a_cancelled_effect_comes_to_its_outcome(live: Any, site: Any) -> None:
    site.trouble["restart_service"] = ["lost", "lost"]  # half a second of pauses, and then it works

    async def repair(run: Run) -> None:
        run.stage("ops.restart_service", service="orders")
        run.stage("ops.open_ticket", title="orders")
        await run.review()
        await run.commit()
        await run.sleep(60)

    async with live(flow(repair)) as life:
        run = await life.submit("flow")
        await until(life, run, Kind.EFFECT_INTENT)
        await life.core.cancel(run, life.user, "")
        assert (await life.core.run(run)).status == "cancelled"
        assert len(life.events(run, Kind.EFFECT_OUTCOME)) == 2
    assert [tool for tool, _, _ in site.effects()] == ["restart_service", "open_ticket"]


async def test_a_cancellation_that_outlived_its_core(live: Any) -> None:
    async with live(flow(two_signals)) as life:
        run = await life.submit("flow")
        await until(life, run, Kind.WAIT_BEGUN)
        life.dies_after(1)
        await life.core.conductor.stop(run, Kind.RUN_CANCELLING, life.user, "")
    async with live(flow(two_signals)) as life:
        assert (await life.resume(run)).status == "cancelled"


@workflow("reads", tools=("ops.list_services", "ops.read_logs"))
async def reads(run: Run, reading: Reading) -> dict[str, Any]:
    """A child."""
    logs = await run.call("ops.read_logs", service="orders")
    return {"lines": len(logs.lines) * reading.level, "task": run.task}


async def test_a_child_run(live: Any) -> None:
    async def parent(run: Run) -> list[Any]:
        found = await run.child("reads", "look", Reading(level=3))
        return [found.lines, found.task]

    async with live(flow(parent), reads) as life:
        view = await life.run("flow")
        assert life.value(view.run) == [3, "look"]
        child = f"{view.run}-1"
        assert (await life.core.run(child)).status == "completed"
        assert (await life.core.run(view.run[:-1])).run == view.run
        [(ended, _)] = life.events(view.run, Kind.RUN_ENDED)
        assert "tool:ops.read_logs" in ended.labels.sources
        [(submitted, _)] = life.events(child, Kind.RUN_SUBMITTED)
        assert submitted.principal == life.user.name


async def test_a_child_may_no_more_than_its_parent(live: Any) -> None:
    async def parent(run: Run) -> str:
        try:
            await run.child("reads", "look", Reading(level=3))
        except ChildFailed as error:
            return error.what
        return ""

    narrow = Workflow("flow", 1, parent, None, ("ops.list_services",))
    async with live(narrow, reads) as life:
        view = await life.run("flow")
        assert view.outcome == "the run that this one began ended as failed"
        assert "may not use this tool" in (await life.core.run(f"{view.run}-1")).outcome


async def test_a_child_is_begun_once_and_cancelled_with_its_parent(live: Any) -> None:
    async def parent(run: Run) -> list[int]:
        found: list[int] = await run.child("child", "wait")
        return found

    flows = flow(parent), flow(two_signals, "child")
    async with live(*flows) as life:
        run = await life.submit("flow")
        await until(life, f"{run}-1", Kind.WAIT_BEGUN)
    async with live(*flows) as life:
        await life.core.resume()
        await life.core.signal(f"{run}-1", "level", {"level": 1}, life.user)
        await until(life, f"{run}-1", Kind.WAIT_BEGUN, 2)
        assert len(life.events(f"{run}-1", Kind.RUN_SUBMITTED)) == 1
        await life.core.cancel(run, life.user, "")
        assert [(await life.core.run(each)).status for each in (run, f"{run}-1")] == ["cancelled"] * 2


async def test_a_parent_goes_on_when_its_parked_child_has_ended(live: Any, site: Any) -> None:
    site.trouble["set_dependency"] = ["lost"]  # a tool that can neither be asked nor called again

    async def effect(run: Run) -> str:
        run.stage("ops.set_dependency", service="orders", dependency="gateway")
        await run.review()
        await run.commit()
        return "done"

    async def parent(run: Run) -> str:
        return str(await run.child("child", "do it"))

    async with live(flow(parent), flow(effect, "child")) as life:
        view = await life.run("flow", answer=True)
        assert view.status == "parked", view.outcome
        with pytest.raises(SettingsError, match="nobody knows whether"):
            await life.core.cancel(f"{view.run}-1", life.user, "")
        await life.core.settle(f"{view.run}-1", "", True, None, life.user, "I looked")
        await life.finish(f"{view.run}-1")
        assert (await life.finish(view.run)).outcome == "done"
    assert site.effects() == []


async def test_what_a_person_says_about_an_effect_in_doubt(live: Any, site: Any) -> None:
    site.trouble["set_dependency"] = ["lost"]

    async def effect(run: Run) -> Any:
        run.stage("ops.set_dependency", service="orders", dependency="gateway")
        await run.review()
        return [receipt.result for receipt in await run.commit()]

    async with live(flow(effect)) as life:
        run = (await life.run("flow", answer=True)).run
        with pytest.raises(Denied, match="may not settle"):
            await life.core.settle(run, "", False, None, replace(life.user, roles=("requester",)), "")
        with pytest.raises(SettingsError, match="no such effect"):
            await life.core.settle(run, "9.9", False, None, life.user, "")
        await life.core.settle(run, "", False, None, life.user, "I looked, and it did not")
        assert (await life.finish(run, answer=True)).status == "completed"
        assert life.value(run) == [{"done": "set_dependency"}]
        assert len(life.events(run, Kind.EFFECT_INTENT)) == 2
        assert (await life.core.queries.verify()).ok
    assert len(site.effects()) == 1


async def test_a_run_ends_in_the_version_it_began_with(live: Any) -> None:
    async with live(flow(two_signals)) as life:
        run = await life.submit("flow")
        await until(life, run, Kind.WAIT_BEGUN)
    async with live(replace(flow(two_signals), version=2)) as life:
        assert (await life.resume(run)).status == "parked"
        assert "began with version 1" in life.error(run)["what"]
    async with live(flow(two_signals)) as life:
        for level in (1, 2):
            await life.core.signal(run, "level", {"level": level}, life.user)
        assert (await life.resume(run)).status == "completed"


async def test_a_patched_workflow(live: Any) -> None:
    async def before(run: Run) -> str:
        await run.uuid()
        await run.wait("level", Reading)
        return "old"

    async def after(run: Run) -> str:
        new = run.patched("two numbers")
        await run.uuid()
        if new:
            await run.random()
        await run.wait("level", Reading)
        return "new" if run.patched("two numbers") else "old"

    async with live(flow(before)) as life:
        old = await life.submit("flow")
        await until(life, old, Kind.WAIT_BEGUN)
    async with live(flow(after)) as life:
        await life.core.resume()
        new = await life.submit("flow")
        await until(life, new, Kind.WAIT_BEGUN)
    async with live(flow(after)) as life:
        for run, expected in ((old, "old"), (new, "new")):
            await life.core.signal(run, "level", {"level": 1}, life.user)
            assert (await life.resume(run)).outcome == expected
        assert [event.decision for event, _ in life.events(new, Kind.RUN_PATCHED)] == ["two numbers"]


async def test_a_stop_of_the_runtime_is_no_cancellation(live: Any) -> None:
    async with live(flow(two_signals)) as life:
        run = await life.submit("flow")
        await until(life, run, Kind.WAIT_BEGUN)
    async with live(flow(two_signals)) as life:
        assert (await life.core.run(run)).status != "cancelled"
        with pytest.raises(BailiwickError):
            await life.core.retry(run, life.user)


async def repair(run: Run) -> str:
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.commit()
    return "repaired"


async def test_a_halt_outlasts_a_restart_and_its_release_lets_runs_go_on(live: Any, site: Any) -> None:
    async with live(flow(repair)) as life:
        await life.core.halt(replace(life.user, roles=("requester",)), "smoke in the server room")
        with pytest.raises(SettingsError, match="halted all effects already"):
            await life.core.halt(life.user, "")
        run = (await life.run("flow")).run
        assert (await life.core.run(run)).status == "parked"
        assert life.error(run)["kind"] == "Halted"
        assert life.events(run, Kind.EFFECT_INTENT) == []
    async with live(flow(repair)) as life:
        assert (await life.resume(run)).status == "parked"
        with pytest.raises(Denied, match="may not release"):
            await life.core.release(replace(life.user, roles=("requester",)), "")
        assert await life.core.release(life.user, "it was toast") == [run]
        assert (await life.finish(run)).outcome == "repaired"
        with pytest.raises(SettingsError, match="not halted"):
            await life.core.release(life.user, "")
    async with live(flow(repair)) as life:
        assert (await life.run("flow")).outcome == "repaired"
    assert len(site.effects()) == 2


async def test_a_halt_catches_an_effect_between_two_tries(live: Any, site: Any) -> None:
    site.trouble["restart_service"] = ["lost", "lost", "lost"]  # more than a second of pauses
    async with live(flow(repair)) as life:
        run = await life.submit("flow")
        await until(life, run, Kind.EFFECT_INTENT)
        await life.core.halt(life.user, "")
        assert (await life.finish(run)).status == "parked"
        assert site.effects() == []
        site.trouble.clear()
        await life.core.release(life.user, "")
        assert (await life.finish(run)).outcome == "repaired"
        assert len(life.events(run, Kind.EFFECT_INTENT)) == 1
    assert len(site.effects()) == 1


async def test_no_run_ends_while_one_of_its_effects_is_in_doubt(live: Any, site: Any) -> None:
    site.trouble["set_dependency"] = ["lost"]

    async def careless(run: Run) -> str:
        run.stage("ops.set_dependency", service="orders", dependency="gateway")
        await run.review()
        try:
            await run.commit()
        except BailiwickError:
            return "never mind"
        return "done"

    async with live(flow(careless)) as life:
        run = (await life.run("flow", answer=True)).run
        assert (await life.core.run(run)).status == "parked"
        assert life.error(run)["kind"] == "InDoubt"
        await life.core.settle(run, "", True, None, life.user, "")
        assert (await life.finish(run)).outcome == "done"


async def test_a_fork_repeats_nothing_and_asks_anew(live: Any, site: Any) -> None:
    async def twice(run: Run) -> list[Any]:
        seen = [await run.uuid()]
        for number in range(2):
            run.stage("ops.rollback_config", service="orders")
            await run.review()
            await run.commit()
            seen.append(f"{number} {await run.uuid()}")
        return seen

    async with live(flow(twice)) as life:
        source = (await life.run("flow", answer=True)).run
        steps = [event.step for event, payload in life.events(source, Kind.STEP_COMPLETED) if payload["kind"] == "uuid"]
        with pytest.raises(SettingsError, match="no such step"):
            await life.core.fork(source, "99", life.user)
        with pytest.raises(Denied, match="another user's run"):
            await life.core.fork(source, steps[1], replace(life.user, name="eve"))
        with pytest.raises(SettingsError, match=r"may do again: ops\.rollback_config \(step 8\.1\)") as refused:
            await life.core.fork(source, steps[1], life.user)
        assert "--again" in str(refused.value)
        assert len(life.core.ledger.open_runs()) == 0
        made = await life.core.fork(source, steps[1], life.user, again=True)
        done, since = (("4.1", "ops.rollback_config"), ("8.1", "ops.rollback_config"))
        assert (made.effects, made.again) == ((done,), (since,))
        [(_, told)] = life.events(made.run, Kind.RUN_SUBMITTED)
        assert (told["forked"]["effects"], told["forked"]["again"]) == ([list(done)], [list(since)])
        await life.until_waiting()
    async with live(flow(twice)) as life:
        assert (await life.resume(made.run, answer=True)).status == "completed"
        first, fork = life.value(source), life.value(made.run)
        assert first[0] == fork[0]
        assert not set(first[1:]) & set(fork[1:])
        assert [len(life.events(run, Kind.APPROVAL_ANSWERED)) for run in (source, made.run)] == [2, 1]
        again = await life.core.fork(made.run, steps[2], life.user)
        assert again.effects == (since, (f"{source}/{done[0]}", done[1]))
        assert again.again == ()  # what the source did second is in it, as the fork has repeated it
        with pytest.raises(SettingsError, match=f"again: {since[1]} .step {since[0]}., .*{source}/{done[0]}"):
            await life.core.fork(made.run, steps[0], life.user)
        assert (await life.finish(again.run, answer=True)).status == "completed"
        assert life.value(again.run)[:2] == fork[:2]
    assert len(site.effects()) == 3


async def test_the_source_of_a_workflow_is_kept_once(live: Any) -> None:
    kept = "SELECT workflow, fingerprint FROM events WHERE kind = 'workflow.installed' ORDER BY seq"
    for flows in ([flow(repair)], [flow(repair)], [flow(asks)]):
        async with live(*flows) as life:
            await life.core.ledger.flushed()
            rows = (await life.core.queries.sql(kept)).rows
    assert [list(row) for row in rows] == [["flow", flow(each).source_digest] for each in (repair, asks)]
    async with live(flow(repair)) as life:
        [event, *_] = life.core.ledger.events(kinds=[Kind.WORKFLOW_INSTALLED])
        assert "ops.restart_service" in life.core.ledger.payload(event.payload)["source"]


async def test_a_child_that_cannot_begin(live: Any) -> None:
    async def parent(run: Run) -> list[str]:
        said = []
        for name, task in (("flow", ""), ("nowhere", "look")):
            try:
                await run.child(name, task)
            except SettingsError as error:
                said.append(error.what)
        return said

    async with live(flow(parent)) as life:
        said = life.value((await life.run("flow")).run)
    assert said[0].startswith("the task of a run is not usable")
    assert said[1] == "no workflow 'nowhere'"


async def test_runs_that_begin_runs_come_to_an_end(live: Any) -> None:
    async def again(run: Run) -> str:
        return str(await run.child("flow", "again"))

    async with live(flow(again)) as life:
        view = await life.run("flow")
        assert (view.status, view.outcome[:46]) == ("failed", "the run that this one began ended as failed (r")
        deepest = max(row.run for row in life.core.ledger.runs(50))
        assert deepest.count("-") == 8
        assert "at most 8 runs above it" in (await life.core.run(deepest)).outcome

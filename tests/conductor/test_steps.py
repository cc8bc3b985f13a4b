"""Steps one by one: what they record, how they fail, what they cost, and what they are labelled with."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from runtime.contract.run import Run
from runtime.contract.workflow import Fallback, Workflow
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.errors import SettingsError, ToolFailed
from store.records.kinds import Kind
from store.records.labels import Integrity

Function = Callable[..., Any]


def flow(function: Function, fallback: Fallback | None = None) -> Workflow:
    return Workflow("flow", 1, function, fallback, ())


async def by_rule(run: Run) -> str:
    """The rules."""
    return "by rule"


class Even(BaseModel):
    """An answer with a rule that no JSON Schema shows."""

    number: int

    @field_validator("number")
    @classmethod
    def even(cls, value: int) -> int:
        """Refuse odd numbers."""
        if value % 2:
            raise ValueError("odd")
        return value


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


async def test_a_subclass_of_an_error_is_caught_on_replay_as_it_was_live(live: Any, site: Any) -> None:
    async def careful(run: Run) -> str:
        try:
            await run.call("ops.read_logs", service=3)
        except ToolFailed:  # BadArguments, live
            await run.sleep(0)
        return "caught"

    rules = '@id("all") permit(principal, action, resource);'
    path = site.folder.with_name("rules")
    path.mkdir()
    (path / "site.cedar").write_text(rules)
    async with live(flow(careful), policy=str(path)) as life:
        run = await life.submit("flow")
        await life.finish(run)
        failed = life.events(run, Kind.STEP_FAILED)
    kinds = [payload["error"]["kind"] for _, payload in failed]
    assert kinds in (["ToolFailed"], ["Denied"]), kinds


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda run: run.call("ops.restart_service", service="orders"), "only a local read runs at once"),
        (lambda run: run.call("ops.send_mail", to="x"), "only a local read runs at once"),
        (lambda run: run.step(lambda: {1, 2}), "the workflow raised"),
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
        await run.gather(lambda: run.sleep(60), lambda: run.sleep(60))

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


async def asks(run: Run) -> int:
    """Ask twice."""
    first = await run.ask(Even, "a number")
    return first.number + (await run.ask(Even, "another")).number


async def test_tokens_run_out_before_the_call(live: Any, agents: Any) -> None:
    agents.answer = {"number": 2}
    async with live(flow(asks, by_rule), tokens_per_run=1740) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "BudgetExceeded")
    assert agents.asked == ["ask"], "the second call was never made"


async def test_tokens_spent_in_an_earlier_life_count(live: Any, agents: Any) -> None:
    agents.answer = {"number": 2}
    async with live(flow(asks), tokens_per_run=1740) as life:
        life.dies_after(2)
        run = await life.submit("flow")
        await life.finish(run)
    agents.asked.clear()
    async with live(flow(asks), tokens_per_run=1740) as life:
        await life.resume(run)
        assert life.error(run)["kind"] == "BudgetExceeded"
    assert agents.asked == []


async def test_calls_run_out_before_the_call(live: Any, site: Any) -> None:
    async def reads(run: Run) -> None:
        for _ in range(3):
            await run.call("ops.list_services")

    async with live(flow(reads, by_rule), calls_per_run=2) as life:
        view = await life.run("flow")
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "BudgetExceeded")
    assert site.reads == ["list_services"] * 2


@pytest.mark.parametrize(
    ("answer", "stop", "what"),
    [
        ({"number": "two"}, "end", "does not fit its schema"),
        ({"number": 3}, "end", "does not fit its model"),
        (None, "length", "no whole answer"),
    ],
)
async def test_an_answer_that_does_not_fit_hands_over_and_is_accounted_for(
    live: Any, agents: Any, answer: Json, stop: str, what: str
) -> None:
    agents.answer, agents.stop = answer, stop
    async with live(flow(asks, by_rule)) as life:
        view = await life.run("flow")
        assert (view.status, view.outcome, view.resolved_by) == ("completed-by-fallback", "by rule", "rule")
        assert (view.model_calls, view.tokens) == (1, 50)
        asked = life.events(view.run, Kind.STEP_FAILED, Kind.STEP_COMPLETED)[0][1]
        assert asked["detail"]["messages"] == [["user", "ask"]]
        assert asked["detail"]["completion"]["token_ids"] == [1, 2]
        assert what in life.events(view.run, Kind.NOTE)[0][1]["text"]


@pytest.mark.parametrize("chosen", [None, {}, {"choice": "other"}, "flow"])
async def test_a_choice_that_was_not_given_is_none(live: Any, agents: Any, chosen: Json) -> None:
    agents.choice = chosen
    async with live(flow(by_rule), Workflow("flow-2", 1, by_rule, None, ())) as life:
        view = await life.run()
        assert (view.status, life.error(view.run)["kind"]) == ("failed", "ModelFailed")


@pytest.mark.parametrize(("confidence", "status"), [(0.6, "completed"), (0.4, "failed"), (float("nan"), "failed")])
async def test_a_router_that_is_not_sure(live: Any, agents: Any, confidence: float, status: str) -> None:
    agents.choice, agents.confidence = {"choice": "flow"}, confidence
    async with live(flow(by_rule), Workflow("flow-2", 1, by_rule, None, ())) as life:
        assert (await life.run()).status == status


def call(tool: str, **arguments: Any) -> Json:
    return {"tool": tool, "arguments": arguments}


@pytest.mark.parametrize(
    "said", [None, "x", {}, {"tool": "ops.read_logs"}, call("ops.send_mail"), {"tool": "done", "arguments": []}]
)
async def test_a_proposal_out_of_form_is_the_models_failure(live: Any, agents: Any, said: Json) -> None:
    agents.calls = [said]

    async def works(run: Run) -> None:
        await run.work("goal", tools=("ops.read_logs",))

    async with live(flow(works, by_rule)) as life:
        assert (await life.run("flow")).status == "completed-by-fallback"


async def test_the_loop_tells_the_model_of_its_mistakes_and_goes_on(live: Any, site: Any, agents: Any) -> None:
    agents.calls = [
        call("ops.read_logs"),
        call("ops.page_on_call", message={"$ref": ["1", "x"]}),
        call("ops.read_logs", service="orders"),
        call("done"),
    ]

    async def works(run: Run) -> Json:
        done = await run.work("goal", tools=("ops.read_logs", "ops.page_on_call"), turns=9)
        return [done.summary, [tool for tool, _, _ in done.reads], len(done.staged)]

    async with live(flow(works)) as life:
        view = await life.run("flow")
        assert life.value(view.run) == ["", ["ops.read_logs"], 0]
    turns = agents.seen[-1].turns
    assert [turn.error for turn in turns] == [True, True, False]


async def test_the_reviewer_is_told_what_the_core_found_out_itself(live: Any, agents: Any) -> None:
    async def works(run: Run) -> None:
        await run.call("ops.read_logs", service="orders")
        for service in ("orders", "gateway", "elsewhere", ""):
            run.stage("ops.restart_service", service=service)
        run.stage("ops.page_on_call", message="orders")
        await run.review()

    async with live(flow(works)) as life:
        await life.run("flow")
    told = [(each.target, each.target_known, each.target_examined) for each in agents.seen[-1].changes[:4]]
    assert told == [
        ("orders", True, True),
        ("gateway", True, False),
        ("elsewhere", False, False),
        ("(none)", False, False),  # a target left out is not the same as a tool without one
    ]
    assert agents.seen[-1].changes[0].evidence == ("WARN orders: disk quota exceeded",)
    assert agents.seen[-1].changes[4].target == ""


async def test_a_core_that_cannot_start_lets_go_of_the_ledger(live: Any, site: Any) -> None:
    with pytest.raises(SettingsError):
        async with live(policy=str(site.folder / "nowhere")):
            pass
    Ledger.open(site.folder).close()


async def test_events_are_waited_for(live: Any) -> None:
    async with live(flow(by_rule)) as life:
        await life.core.ledger.beyond(0)
        waiting = asyncio.ensure_future(life.core.events(1, "", 10, True, 30))
        await asyncio.sleep(0)
        await life.run("flow")
        found = await asyncio.wait_for(waiting, 10)
        assert [view.event["kind"] for view in found][:1] == ["run.submitted"]

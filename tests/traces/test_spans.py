"""What a run looks like to a collector: the published protobuf reads it, and no content is in it."""

import json
from typing import Any

from pydantic import BaseModel

from models.request import Embedding
from runtime.agents.proposal import ModelCall
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.traces.otlp import export
from runtime.traces.span import span_id, trace_id
from store.records.errors import ToolFailed
from store.records.kinds import Kind
from tests.traces.collector import parsed, said, spans

MARKER = "xyzzy"
"""Is in the task, in questions, arguments, results and answers of the runs in here, and in no name."""


class Reply(BaseModel):
    text: str


async def repair(run: Run) -> str:
    await run.ask(Reply, f"{MARKER} why?", data={"seen": MARKER})
    await run.call("ops.read_logs", service="orders")
    await run.recall(MARKER)
    await run.remember(MARKER, {"about": MARKER})
    run.emit(MARKER)
    await run.sleep(0.0)
    run.stage("ops.restart_service", service="orders")
    run.stage("ops.rollback_config", service="orders")
    run.stage("ops.open_ticket", title=MARKER)
    await run.review()
    await run.commit()
    return MARKER


async def view(life: Any, run: str) -> Any:
    return await life.core.queries.events(0, run, 500, True)


async def repaired(life: Any, agents: Any) -> tuple[str, Any]:
    agents.answer = {"text": MARKER}
    agents.verdict = {"verdict": "approve", "reason": MARKER}
    run = (await life.run("flow", answer=True, task=f"{MARKER} it")).run
    return run, await view(life, run)


def named(request: Any) -> dict[str, dict[str, Any]]:
    """Spans by their names, which must be different."""
    found = {each["name"]: each for each in spans(request)}
    assert len(found) == len(spans(request))
    return found


async def test_the_published_protobuf_reads_it_and_every_span_has_its_place(live: Any, agents: Any) -> None:
    agents.earlier = (ModelCall((MARKER,), Embedding([], "minilm", "e" * 64, "q" * 64, 7, 1, 2)),)
    async with live(Workflow("flow", 3, repair, None, ())) as life:
        run, events = await repaired(life, agents)
    request = export(events)
    message = parsed(json.loads(json.dumps(request)))
    [resource] = message.resource_spans
    found = list(resource.scope_spans[0].spans)
    assert len(found) == len(spans(request)) > 15
    assert {(len(each.trace_id), len(each.span_id)) for each in found} == {(16, 8)}
    assert {each.trace_id.hex() for each in found} == {trace_id(run)}
    by_id = {each.span_id: each for each in found}
    assert len(by_id) == len(found)
    [root] = [each for each in found if not each.parent_span_id]
    assert (root.span_id.hex(), root.name) == (span_id(run), "invoke_workflow flow")
    for each in found:
        assert 0 < each.start_time_unix_nano <= each.end_time_unix_nano
        for moment in each.events:
            assert each.start_time_unix_nano <= moment.time_unix_nano <= each.end_time_unix_nano
        if each is not root:
            parent = by_id[each.parent_span_id]
            assert parent.start_time_unix_nano <= each.start_time_unix_nano
            assert each.end_time_unix_nano <= parent.end_time_unix_nano
    kinds = {each.name.split()[0]: each.kind for each in found}
    assert (kinds["chat"], kinds["embeddings"], kinds["execute_tool"]) == (3, 3, 1)
    told = sum(len(each.events) for each in found)
    assert told == sum(
        each.event["kind"] in ("decision", "staged", "note", "effect.intent", "run.started") for each in events
    )


async def test_a_tool_call_an_effect_and_an_approval(live: Any, agents: Any) -> None:
    async with live(Workflow("flow", 3, repair, None, ())) as life:
        run, events = await repaired(life, agents)
    found = named_but_models(export(events))
    read = found["execute_tool ops.read_logs"]
    assert said(read)["gen_ai.operation.name"] == "execute_tool"
    assert said(read)["bailiwick.begun"] == "event"
    [decided] = read["events"]
    assert (decided["name"], said(decided)["bailiwick.decision"]) == ("decision", "allow")
    effect, commit = found["execute_tool ops.rollback_config"], found["commit"]
    assert effect["parentSpanId"] == commit["spanId"]
    assert [each["name"] for each in effect["events"]] == ["decision", "effect.intent"]
    assert "approval:rollback" in said(effect["events"][0])["bailiwick.policies"]
    intent = next(each for each in events if each.event["kind"] == Kind.EFFECT_INTENT)
    assert said(found["execute_tool ops.restart_service"])["gen_ai.tool.call.id"] == f"{run}/{intent.event['step']}"
    approval = found["approval ops.rollback_config"]
    asked, answered = [
        each.event for each in events if each.event["kind"] in (Kind.APPROVAL_REQUESTED, Kind.APPROVAL_ANSWERED)
    ]
    assert said(approval)["bailiwick.decision"] == "yes"
    assert said(approval)["bailiwick.principal"] == answered["principal"]
    assert said(approval)["bailiwick.event"] == answered["seq"] > asked["seq"]
    assert said(found["sleep"])["bailiwick.begun"] == "event"
    assert said(found["search_memory"])["gen_ai.operation.name"] == "search_memory"
    agent = found["invoke_agent worker"]
    assert said(agent)["gen_ai.agent.name"] == "worker"
    [chat] = [each for each in spans(export(events)) if each.get("parentSpanId") == agent["spanId"]]
    assert chat["name"] == "chat toy"
    tokens = [said(chat)[f"gen_ai.usage.{each}_tokens"] for each in ("input", "output")]
    assert (sum(tokens), said(chat)["gen_ai.response.finish_reasons"]) == (agents.tokens, ["end"])
    assert int(chat["endTimeUnixNano"]) - int(chat["startTimeUnixNano"]) <= 5_000_000


def named_but_models(request: Any) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in spans(request) if each["kind"] == 1}


async def test_content_is_in_it_only_where_it_was_asked_for(live: Any, agents: Any) -> None:
    agents.earlier = (ModelCall((MARKER,), Embedding([], "minilm", "e" * 64, "q" * 64, 7, 1, 2)),)
    async with live(Workflow("flow", 3, repair, None, ())) as life:
        _, events = await repaired(life, agents)
    assert MARKER in json.dumps([each.payload for each in events])
    assert MARKER not in json.dumps(export(events))
    asked = export(events, content=True)
    parsed(json.loads(json.dumps(asked)))
    holding = {name for each in spans(asked) for name, value in said(each).items() if MARKER in str(value)}
    assert holding >= {"bailiwick.task", "gen_ai.tool.call.arguments", "bailiwick.texts", "bailiwick.payload"}
    [read] = [each for each in spans(asked) if each["name"] == "execute_tool ops.read_logs"]
    assert "disk quota exceeded" in said(read)["gen_ai.tool.call.result"]
    chat = next(each for each in spans(asked) if each["name"] == "chat toy")
    assert json.loads(said(chat)["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "ask"}]}
    ]


async def test_made_twice_it_is_the_same_trace(live: Any, agents: Any) -> None:
    async with live(Workflow("flow", 3, repair, None, ())) as life:
        run, events = await repaired(life, agents)
    async with live(Workflow("flow", 3, repair, None, ())) as life:
        assert export(await view(life, run)) == export(events)


async def test_what_went_wrong_is_named_and_not_told(live: Any, site: Any) -> None:
    async def tries(run: Run) -> str:
        try:
            await run.call("ops.read_logs", service="orders")
        except ToolFailed:
            await run.call("ops.read_logs", service=MARKER)
        raise ValueError(MARKER)

    site.trouble["read_logs"] = ["error"]
    async with live(Workflow("flow", 1, tries, None, ())) as life:
        run = (await life.run("flow")).run
        request = export(await view(life, run))
    parsed(request)
    root, failed, *_ = spans(request)
    assert (root["status"], said(root)["error.type"], said(root)["bailiwick.decision"]) == (
        {"code": 2},
        "valueerror",
        "failed",
    )
    assert (failed["status"], said(failed)["error.type"]) == ({"code": 2}, "tool_error")
    assert MARKER not in json.dumps(request)


async def test_a_child_is_in_its_parents_trace_below_the_step_that_began_it(live: Any) -> None:
    async def parent(run: Run) -> str:
        await run.uuid()
        return str(await run.child("below", "a task"))

    async def below(run: Run) -> str:
        return str(await run.uuid())

    flows = Workflow("above", 1, parent, None, ()), Workflow("below", 1, below, None, ())
    async with live(*flows) as life:
        run = (await life.run("above")).run
        upper, lower = export(await view(life, run)), export(await view(life, f"{run}-2"))
    [step] = [each for each in spans(upper) if each["name"] == "child below"]
    root, *rest = spans(lower)
    assert (root["traceId"], root["parentSpanId"]) == (trace_id(run), step["spanId"])
    assert said(step)["bailiwick.begun"] == "earliest"
    assert int(step["startTimeUnixNano"]) <= int(root["startTimeUnixNano"])
    assert int(root["endTimeUnixNano"]) <= int(step["endTimeUnixNano"])
    assert {each["spanId"] for each in spans(upper)}.isdisjoint(each["spanId"] for each in (root, *rest))


async def test_a_step_began_when_its_own_branch_had_got_to_it(live: Any) -> None:
    async def flow(run: Run) -> str:
        async def waits() -> None:
            await run.sleep(0.02)
            await run.uuid()

        async def counts() -> None:
            await run.uuid()
            await run.uuid()

        await run.gather(waits, counts)
        await run.uuid()
        return "done"

    async with live(Workflow("flow", 1, flow, None, ())) as life:
        run = (await life.run("flow")).run
        found = {said(each).get("bailiwick.step", ""): each for each in spans(export(await view(life, run)))}
    started = int(found[""]["events"][0]["timeUnixNano"])
    bounds = {step: (int(each["startTimeUnixNano"]), int(each["endTimeUnixNano"])) for step, each in found.items()}
    assert bounds["1.2.1"][0] == started  # not the sleep of the branch beside it, which was begun before
    assert bounds["1.2.2"][0] == bounds["1.2.1"][1]
    assert bounds["1.1.2"][0] == bounds["1.1.1"][1]
    assert bounds["2"][0] == bounds["1.1.2"][1]


async def test_an_open_run_says_that_it_is_open_and_a_fork_where_it_came_from(live: Any) -> None:
    async def waits(run: Run) -> str:
        await run.uuid()
        return (await run.wait(MARKER, Reply)).text

    async with live(Workflow("flow", 1, waits, None, ())) as life:
        run = await life.submit("flow")
        while not life.events(run, Kind.WAIT_BEGUN):
            await life.core.events(life.core.ledger.last_seq(), "", 1, False, 0.01)
        request = export(await view(life, run))
        forked = await life.core.fork(run, "2", life.user)
        [link] = spans(export(await view(life, forked.run)))[0]["links"]
    parsed(request)
    root, *_, wait = spans(request)
    assert (wait["name"], said(wait)["bailiwick.open"], said(root)["bailiwick.open"]) == ("wait signal", True, True)
    assert wait["endTimeUnixNano"] == root["endTimeUnixNano"]
    assert link == {"traceId": trace_id(run), "spanId": span_id(run)}


async def test_what_was_destroyed_is_said_to_be(live: Any, agents: Any) -> None:
    async with live(Workflow("flow", 3, repair, None, ())) as life:
        _, events = await repaired(life, agents)
    gone = [each.model_copy(update={"payload": None, "gone": "destroyed"}) for each in events]
    request = export(gone, content=True)
    parsed(request)
    assert MARKER not in json.dumps(request)
    assert said(spans(request)[0])["bailiwick.gone"] is True
    assert sum("bailiwick.model.digest" in said(each) for each in spans(request)) >= 2

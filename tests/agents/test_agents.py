"""The agents over the real default models: what they put before a model, and what they make of its answer."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from models.registry import Registry
from models.request import Completion, Embedding, Message, Request
from models.server import ModelServer
from runtime.agents.call_schema import call_schema, unused
from runtime.agents.proposal import (
    Allowance,
    AskContext,
    Change,
    Proposal,
    ReviewContext,
    RouteContext,
    ToolView,
    Turn,
    WorkContext,
)
from runtime.agents.reviewer import Reviewer
from runtime.agents.router import Router
from runtime.agents.worker import ASK, Worker, work_messages
from store.records.errors import ModelFailed


@dataclass
class Handle:
    """The model server as agents hold it; counts what is asked of it."""

    server: ModelServer
    completions: int = 0
    embedded: int = 0

    async def generate(self, request: Request) -> Completion:
        self.completions += 1
        return await asyncio.to_thread(self.server.generate, request)

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        self.embedded += len(texts)
        return await asyncio.to_thread(self.server.embed, texts, max_tokens=max_tokens, deadline_s=deadline_s)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    started = ModelServer(Registry(tmp_path_factory.mktemp("site")), n_ctx=2048)
    yield started
    started.close()


@pytest.fixture
def model(server: ModelServer) -> Handle:
    return Handle(server)


def tool(name: str, **properties: Any) -> ToolView:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ToolView(name, f"{name} does it", schema, write=False)


SERVICE = {"enum": ["gateway", "orders"]}
LOGS, LIST, FREE = (
    tool("ops.read_logs", service=SERVICE),
    tool("ops.list"),
    tool("ops.search", query={"type": "string"}),
)
CONTEXT = WorkContext("find it", "Look.", ("a note",), (), (LOGS, LIST, FREE), (), Allowance(tokens=60))


def turns(count: int) -> tuple[Turn, ...]:
    return tuple(Turn("ops.search", {"query": str(each)}, {"found": each}, error=each == 1) for each in range(count))


@pytest.mark.parametrize("examples", [(), (Turn("ops.list", {}, "a situation"),)])
def test_the_chat_only_grows(examples: tuple[Turn, ...]) -> None:
    context = replace(CONTEXT, examples=examples)
    chats = [work_messages(replace(context, turns=turns(count))) for count in range(5)]
    for shorter, longer in itertools.pairwise(chats):
        assert longer[: len(shorter)] == shorter
        assert len(longer) == len(shorter) + 2
    assert [message.role for message in chats[-1]][:2] == ["system", "user"]
    assert chats[2][-1].content.startswith('Error: {"found":1}')


def test_examples_are_turns_and_take_the_place_of_the_list_of_tools() -> None:
    plain = work_messages(CONTEXT)
    shown = work_messages(replace(CONTEXT, examples=(Turn("ops.list", {}, "a situation"),)))
    assert 'def ops.read_logs(service: Literal["gateway", "orders"]):' in plain[0].content
    assert "ops.read_logs" not in shown[0].content
    assert shown[1].content.startswith("a situation")
    assert shown[2].content == '{"tool":"ops.list","arguments":{}}'
    assert "a note" in shown[-1].content


def test_what_was_asked_is_not_offered_again() -> None:
    asked = (
        Turn("ops.read_logs", {"service": "orders"}, {}),
        Turn("ops.list", {}, {}),
        Turn("ops.search", {"query": "x"}, {}),
    )
    left = unused(CONTEXT.tools, asked)
    assert [each.name for each in left] == ["ops.read_logs", "ops.search"]
    assert left[0].schema["properties"]["service"]["enum"] == ["gateway"]
    assert [each.name for each in unused((LOGS,), (*asked, Turn("ops.read_logs", {"service": "gateway"}, {})))] == []
    assert SERVICE == {"enum": ["gateway", "orders"]}, "the record itself is left alone"


@pytest.mark.parametrize(
    ("call", "fits"),
    [
        ({"tool": "ops.read_logs", "arguments": {"service": "orders"}}, True),
        ({"tool": "ops.read_logs", "arguments": {"service": "elsewhere"}}, False),
        ({"tool": "ops.read_logs", "arguments": {"service": "orders", "more": 1}}, False),
        ({"tool": "ops.read_logs", "arguments": {"service": "orders"}, "why": ""}, False),
        ({"tool": "ops.mail", "arguments": {}}, False),
        ({"tool": "done", "arguments": {"summary": "x"}}, True),
        ({"tool": "done", "arguments": {"summary": "x" * 121}}, False),
    ],
)
def test_a_calls_schema_is_closed(call: Any, fits: bool) -> None:
    assert Draft202012Validator(call_schema(CONTEXT.tools, may_end=True)).is_valid(call) is fits


def test_the_loop_cannot_end_before_it_began() -> None:
    done = {"tool": "done", "arguments": {"summary": "x"}}
    assert not Draft202012Validator(call_schema(CONTEXT.tools, may_end=False)).is_valid(done)


async def test_the_worker_calls_what_it_was_given(model: Handle) -> None:
    proposal = await Worker(model).work(CONTEXT)
    assert Draft202012Validator(call_schema(CONTEXT.tools, may_end=False)).is_valid(proposal.value)
    assert [call.asked for call in proposal.calls] == [work_messages(CONTEXT)]


READ = replace(LOGS, description="Read the newest lines of a service's log.")
BILL = ToolView("shop.sendInvoice", "Send an invoice to a customer.", LIST.schema, write=True)


@pytest.mark.parametrize(
    ("task", "name"), [("Find out from its log why the service fails", READ.name), ("Bill our new client", BILL.name)]
)
@pytest.mark.parametrize("tools", [(READ, BILL), (BILL, READ)])
async def test_the_tool_that_is_nearest_in_meaning_is_named_before_the_first_call(
    model: Handle, task: str, name: str, tools: tuple[ToolView, ...]
) -> None:
    context = replace(CONTEXT, task=task, tools=tools, allowance=Allowance(tokens=60, texts=200))
    proposal = await Worker(model).work(context)
    meaning, words = proposal.calls
    assert meaning.asked[0] == f"{task}\n{CONTEXT.goal}"
    assert "shop send Invoice: Send an invoice to a customer." in meaning.asked
    assert words.asked == work_messages(context, name)
    assert name in chat(proposal)[-1].content
    assert proposal.value["tool"] in (READ.name, BILL.name), "the others are not excluded"


@pytest.mark.parametrize(
    "changes",
    [
        {"allowance": Allowance(tokens=60)},
        {"turns": turns(1)},
        {"examples": (Turn("ops.list", {}, "a situation"),)},
        {"tools": (READ,)},
        {"tools": ()},
    ],
)
async def test_no_tool_is_named_where_the_chat_says_more_or_there_is_no_choice(model: Handle, changes: Any) -> None:
    context = replace(CONTEXT, tools=(READ, BILL), allowance=Allowance(tokens=60, texts=200))
    proposal = await Worker(model).work(replace(context, **changes))
    assert [call.asked for call in proposal.calls] == [work_messages(replace(context, **changes))]
    assert model.embedded == 0


async def test_no_tool_is_named_between_two_alike(model: Handle) -> None:
    context = replace(CONTEXT, tools=(READ, replace(READ, name="ops.readLogs")), allowance=Allowance(60, texts=200))
    proposal = await Worker(model).work(context)
    assert [type(call.given) for call in proposal.calls] == [Embedding, Completion]
    assert proposal.calls[1].asked == work_messages(context)


def test_a_tool_is_named_at_the_very_end_and_never_again() -> None:
    plain, named = work_messages(CONTEXT), work_messages(CONTEXT, LOGS.name)
    assert named[:-1] == plain[:-1]
    assert named[-1].content == plain[-1].content.replace(ASK, f"{LOGS.name} seems to fit best. {ASK}")


async def test_without_an_embedding_the_worker_goes_on(model: Handle) -> None:
    context = replace(CONTEXT, tools=(READ, BILL), allowance=Allowance(tokens=60, texts=1))
    proposal = await Worker(model).work(context)
    assert (proposal.error, [call.asked for call in proposal.calls]) == (None, [work_messages(context)])


def test_of_many_tools_the_longest_are_told_without_their_arguments() -> None:
    long = tool(
        "ops.long", **{f"argument_{number}": {"type": "string", "description": "x" * 40} for number in range(9)}
    )
    few = work_messages(replace(CONTEXT, tools=(LOGS, long)))[0].content
    assert "x" * 40 in few
    cut = work_messages(replace(CONTEXT, tools=(LOGS, long), allowance=Allowance(prompt=200)))[0].content
    assert "def ops.long(argument_0: str" in cut
    assert "x" * 40 not in cut
    assert "def ops.read_logs(service: Literal" in cut


async def test_an_embedding_is_told_though_the_completion_fails(model: Handle) -> None:
    context = replace(CONTEXT, tools=(READ, BILL), allowance=Allowance(tokens=60, prompt=1, texts=200))
    proposal = await Worker(model).work(context)
    assert isinstance(proposal.error, ModelFailed)
    assert (proposal.value, [type(call.given) for call in proposal.calls]) == (None, [Embedding])


async def test_the_worker_answers_in_the_form_that_was_asked_for(model: Handle) -> None:
    schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}
    context = AskContext("a task", "Sure?", schema, {"log": "all is well"}, Allowance(tokens=40))
    proposal = await Worker(model).ask(context)
    assert Draft202012Validator(schema).is_valid(proposal.value)
    assert '{"log":"all is well"}' in chat(proposal)[-1].content


async def test_an_answer_cut_short_is_none_but_is_accounted_for(model: Handle) -> None:
    proposal = await Worker(model).work(replace(CONTEXT, allowance=Allowance(tokens=2)))
    assert proposal.value is None
    (given,) = (call.given for call in proposal.calls)
    assert isinstance(given, Completion)
    assert given.stop == "length"
    assert given.tokens > 2


def chat(proposal: Proposal) -> list[Message]:
    """The chat that a proposal came from."""
    return [each for each in proposal.calls[-1].asked if isinstance(each, Message)]


def change(**changes: Any) -> Change:
    known = Change("ops.restart", "Restart a service.", {"service": "orders"}, "orders", True, True, ("no answer",))
    return replace(known, **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ((), "there is no change"),
        ((change(target_known=False),), "does not stand in the trusted inventory"),
        ((change(target_examined=False),), "nothing was read about the target"),
        ((change(evidence=()),), "nothing was read about the target"),
        ((change(), change(target_known=False)), "does not stand in the trusted inventory"),
    ],
)
async def test_the_reviewer_says_no_by_rule_and_asks_no_model(model: Handle, changes: Any, reason: str) -> None:
    proposal = await Reviewer(model).review(ReviewContext("a task", changes, Allowance()))
    assert proposal.value["verdict"] == "reject"
    assert reason in proposal.value["reason"]
    assert (model.completions, proposal.calls) == (0, ())


async def test_the_reviewers_word_follows_from_what_the_model_sees(model: Handle) -> None:
    evidence = ("orders: disk quota exceeded, every write fails",)
    proposal = await Reviewer(model).review(ReviewContext("a task", (change(evidence=evidence),), Allowance(tokens=20)))
    assert proposal.value["verdict"] == "approve"
    assert chat(proposal)[-1].content == f"Evidence: {evidence[0]}"
    assert all("Restart" not in message.content for message in chat(proposal))


async def test_the_reviewer_without_a_whole_answer_gives_no_verdict(model: Handle) -> None:
    proposal = await Reviewer(model).review(ReviewContext("a task", (change(),), Allowance(tokens=1)))
    assert (proposal.value, len(proposal.calls), proposal.error) == (None, 1, None)


def page(message: str) -> Change:
    return Change("ops.page", "Page the person on call.", {"message": message}, "", False, False)


@pytest.mark.parametrize(
    ("message", "verdict"),
    [("The orders service is down and does not answer", "approve"), ("Cheap watches, buy now", "reject")],
)
async def test_a_message_must_be_about_the_task(model: Handle, message: str, verdict: str) -> None:
    context = ReviewContext("The orders service is failing", (page(message),), Allowance(texts=100))
    proposal = await Reviewer(model).review(context)
    assert proposal.value["verdict"] == verdict
    assert model.completions == 0
    (call,) = proposal.calls
    assert call.asked == ("The orders service is failing", f'Page the person on call. {{"message":"{message}"}}')
    assert 0 < call.given.tokens <= 100


async def test_every_call_of_the_reviewer_is_told_though_a_later_one_fails(model: Handle) -> None:
    calm = ("orders: heartbeat, clock in step", "orders: started in 2 s; request 200 in 3 ms")
    changes = (page("The orders service is down"), change(evidence=calm))
    context = ReviewContext("The orders service is failing", changes, Allowance(tokens=20, calls=6, texts=100))
    proposal = await Reviewer(model).review(context)
    kinds = [type(call.given) for call in proposal.calls]
    assert kinds == [Embedding, *[Completion] * (len(kinds) - 1)]
    assert len(kinds) == 1 + model.completions
    small = replace(context.allowance, prompt=1)
    failed = await Reviewer(model).review(replace(context, allowance=small))
    assert isinstance(failed.error, ModelFailed)
    assert [type(call.given) for call in failed.calls] == [Embedding]


@pytest.mark.parametrize(
    ("task", "name"),
    [("the orders service is down, repair it", "triage"), ("write a poem about the sea", "poem")],
)
async def test_the_router_goes_by_meaning(model: Handle, task: str, name: str) -> None:
    choices = {"triage": "A service fails: find out why and repair it.", "poem": "Write verses about nature."}
    proposal = await Router(model).route(RouteContext(task, choices, Allowance(texts=100)))
    assert proposal.value == {"choice": name}
    assert 0.5 < proposal.confidence <= 1
    assert (model.completions, model.embedded) == (0, 3)
    (call,) = proposal.calls
    assert call.asked == (task, *choices.values())
    assert call.given.model_digest == model.server.loaded()[-1].sha256
    assert 0 < call.given.tokens <= 100


async def test_the_router_keeps_to_its_allowance(model: Handle) -> None:
    context = RouteContext("a task " * 50, {"one": "Repair a service.", "two": "Write verses."}, Allowance(texts=100))
    with pytest.raises(ModelFailed, match=r"have 1\d\d tokens, and their allowance is 100"):
        await Router(model).route(context)


async def test_the_router_is_not_sure_between_two_alike(model: Handle) -> None:
    choices = {"one": "Repair a service.", "two": "Repair a service."}
    proposal = await Router(model).route(RouteContext("repair it", choices, Allowance()))
    assert proposal.confidence == pytest.approx(0.5)


def test_definitions_of_nested_schemas_are_found_from_the_top() -> None:
    part = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
    schema = {
        "type": "object",
        "$defs": {"Part": part},
        "properties": {
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "maxItems": 2},
            "name": {"type": "string"},
        },
        "required": ["parts"],
    }
    tools = (ToolView("a.x", "", {"type": "object", "properties": {}}, False), ToolView("b.y", "", schema, True))
    made = call_schema(tools, may_end=False)
    validator = Draft202012Validator(made)
    assert validator.is_valid({"tool": "b.y", "arguments": {"parts": [{"size": 1}], "name": "n"}})
    assert not validator.is_valid({"tool": "b.y", "arguments": {"parts": [{"size": "big"}]}})
    assert not validator.is_valid({"tool": "b.y", "arguments": {"parts": [], "made_up": 1}})
    assert not validator.is_valid({"tool": "b.y", "arguments": {"parts": [], "name": "n" * 1000}})

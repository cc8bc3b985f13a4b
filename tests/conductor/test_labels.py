"""No sequence of reads, memories, plans and runs within runs lowers a label without an approval: searched for one.

The worker is the worst there is: its plans are any that their grammar allows, and whatever it reads comes out as an
attacker would have it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from runtime.agents.proposal import AskContext, Proposal
from runtime.conductor.plans.check import checked
from runtime.conductor.plans.grammar import END, next_step
from runtime.conductor.plans.kit import Kit
from runtime.contract.run import Run
from runtime.contract.workflow import workflow
from store.records.canonical import Json
from store.records.errors import ChildFailed, ModelFailed
from store.records.event import Event
from store.records.kinds import Kind
from store.records.labels import Integrity, Labels, trusted
from tests.conductor.conftest import Scripted, Site, a_life
from tests.conductor.planning import NEXT, SPARE, TOOLS, Facts, toolset

TASK = "Look at orders, then restart orders and open a ticket."
Past = list[tuple[Event, Json]]


def drawn(schema: Json, root: Json, dice: Random) -> Json:
    """Some value that fits a schema of the kinds that the grammar of plans is made of."""
    if "$ref" in schema:
        return drawn(root["$defs"][schema["$ref"].rpartition("/")[2]], root, dice)
    if "anyOf" in schema:
        return drawn(dice.choice(schema["anyOf"]), root, dice)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else dice.choice(schema["enum"])
    if schema["type"] == "string":
        return dice.choice(["orders", "gateway", "9000"])
    properties = schema["properties"]
    return {
        name: drawn(each, root, dice)
        for name, each in properties.items()
        if name in schema["required"] or dice.random() < 0.5
    }


@dataclass
class Wild(Scripted):
    """Agents whose worker says anything that fits; the reviewer says yes to all of it."""

    dice: Random = field(default_factory=Random)

    async def ask(self, context: AskContext) -> Proposal:
        kind = "plan" if context.question.endswith(NEXT) else "ask"
        return self._say(kind, context, drawn(context.schema, context.schema, self.dice))


class Course(BaseModel):
    """What a run does, in order: words, or the course of a run within it."""

    deeds: list[Any]


@workflow("course")
async def course(run: Run, given: Course) -> Json:
    """Does what its input says; what goes wrong on the way ends nothing but a deed."""
    spare = run.const(SPARE)
    for deed in given.deeds:
        try:
            if isinstance(deed, list):
                await run.child("course", run.task, Course(deeds=deed))
            elif deed == "plan":
                await run.plan(run.const("Do it."), tools=TOOLS, readers=(Facts,), constants=spare)
            elif deed == "remember":
                await run.remember("orders is full", {})
            elif deed == "recall":
                await run.recall("orders")
            elif deed == "ask":
                await run.ask(Facts, "What is it?")
            elif deed == "effect":
                run.stage("ops.open_ticket", title="orders")
                await run.review()
                await run.commit()
            else:
                await run.call(f"ops.{deed}", **({"service": "orders"} if deed == "read_logs" else {}))
        except (ModelFailed, ChildFailed):
            run.discard()
    return None


def at_least(labels: Labels | None, *least: Labels) -> bool:
    """Whether labels are no lower than any of these."""
    return labels is not None and labels.join(*least) == labels


def sources(step: Json) -> Iterator[str]:
    """The variables that a step of a plan uses."""
    given = [step["each"]] if "each" in step else []
    given += step["arguments"].values() if "call" in step else [step["of"]]
    return (each["variable"] for each in given if "variable" in each and each["variable"] != "item")


def check_plan(frozen: Event, plan: Json, later: Past) -> None:
    """Everything that a plan did carries the labels of the plan and of whatever it used."""
    place = frozen.step.rpartition(".")[0] + "."
    mine = [(event, payload) for event, payload in later if event.step.startswith(place)]
    done = [(event, payload) for event, payload in mine if event.kind == Kind.STEP_COMPLETED]
    steps = iter([pair for pair in done if pair[1]["kind"] in ("call", "read")])
    intents = iter([event for event, _ in mine if event.kind == Kind.EFFECT_INTENT])
    staged = [(event, payload) for event, payload in mine if event.kind == Kind.STAGED]
    bound: dict[str, Labels] = {}
    values: dict[str, Json] = {}
    for step in plan["steps"]:
        least = frozen.labels.join(*(bound[name] for name in sources(step) if name in bound))
        bound[step["name"]] = least
        many: Json = [None]
        if "each" in step:
            many = values[step["each"]["variable"]]
            many = many.get(step["each"]["field"]) if "field" in step["each"] else many
            if not isinstance(many, list):  # the plan went no further
                return
        writes = "call" in step and any(payload["name"] == step["call"] for _, payload in staged)
        results = []
        for _ in many:
            event, payload = (next(intents, None), None) if writes else next(steps, (None, None))
            if event is None:  # the plan went no further
                return
            assert at_least(event.labels, least), (step, event.labels, least)
            bound[step["name"]] = bound[step["name"]].join(event.labels)
            results.append(payload and (payload["value"]["result"] if "call" in step else payload["value"]))
        values[step["name"]] = results if "each" in step else results[0]


def check_run(past: Past) -> None:
    """The labels of a run only ever rise, but for what its plans do by themselves; its end has all of them."""
    seen = past[0][0].labels
    approved = {event.step for event, _ in past if event.kind == Kind.APPROVAL_ANSWERED and event.decision == "yes"}
    vouched = {event.step for event, said in past if event.kind == Kind.DECISION and said.get("origins")
               and all(origin["trusted"] for origin in said["origins"])}  # fmt: skip
    places = tuple(event.step.rpartition(".")[0] + "." for event, _ in past if event.kind == Kind.PLAN_FROZEN)
    for index, (event, payload) in enumerate(past):
        if event.kind == Kind.PLAN_FROZEN:
            assert at_least(event.labels, seen)
            check_plan(event, payload["value"], past[index + 1 :])
        elif event.labels is not None and not event.step.startswith(places or (" ",)):
            # What a memory or another run gives has labels of its own, which the run's are then joined with.
            own = payload is not None and payload.get("kind") in ("recall", "child")
            assert own or at_least(event.labels, seen), (event.kind, event.step)
        if event.kind == Kind.EFFECT_INTENT and event.labels.integrity is Integrity.UNTRUSTED:
            assert event.step in approved | vouched, event.step
        if event.kind in (Kind.STEP_COMPLETED, Kind.STEP_FAILED, Kind.PLAN_FROZEN, Kind.EFFECT_OUTCOME):
            seen = seen.join(event.labels)
    if past[-1][0].kind == Kind.RUN_ENDED:
        assert at_least(past[-1][0].labels, seen)


async def drive(folder: Path, courses: Sequence[Json], seed: int, yes: bool) -> int:
    """Runs one after another at one site; the number of their events, all checked."""
    site, agents, count = Site(folder / "data"), Wild(dice=Random(seed)), 0
    async with a_life(site, agents, course, policy="strict", tools=toolset) as life:
        for deeds in courses:
            await life.run("course", answer=yes, task=TASK, input={"deeds": deeds})
        whole = {event.run for event in life.core.ledger.events(limit=100_000) if event.run}
        pasts = {run: life.events(run) for run in whole}
    remembered = [
        event.labels for past in pasts.values() for event, said in past if said and said.get("kind") == "remember"
    ]
    for run, past in pasts.items():
        check_run(past)
        count += len(past)
        parent, _, step = run.rpartition("-")
        begun = past[0][0]
        for event, _ in pasts.get(parent, []):
            if event.seq < begun.seq and event.kind == Kind.STEP_COMPLETED and event.step != step:
                assert at_least(begun.labels, event.labels), "a child has its parent's labels"
            if event.step == step and event.kind == Kind.STEP_COMPLETED:
                assert at_least(event.labels, past[-1][0].labels), "and its parent has the child's"
        for event, said in past:
            if said and said.get("kind") == "recall" and said.get("value"):
                assert any(at_least(event.labels, labels) for labels in remembered)
    return count


_DEED = st.sampled_from(["read_logs", "list_services", "plan", "plan", "remember", "recall", "ask", "effect"])
_DEEDS = st.lists(_DEED, min_size=1, max_size=4)
_COURSE = st.lists(st.one_of(_DEED, _DEEDS), min_size=1, max_size=4)


@given(courses=st.lists(_COURSE, min_size=1, max_size=3), seed=st.integers(0, 2**32), yes=st.booleans())
@settings(max_examples=8, deadline=None, derandomize=True)
def test_no_sequence_lowers_a_label_without_an_approval(courses: list[Json], seed: int, yes: bool) -> None:
    with TemporaryDirectory() as folder:
        assert asyncio.run(drive(Path(folder), courses, seed, yes)) > 0


@given(seed=st.integers(0, 2**32), most=st.integers(1, 8), word=st.sampled_from([TASK, "Count 12 orders.", "x"]))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_whatever_the_grammar_allows_the_check_finds_nothing_wrong_with(seed: int, most: int, word: str) -> None:
    records = asyncio.run(toolset(Site(Path())).records())
    tools = {record.name: record for record in records}
    kit = Kit(tools, {"Facts": Facts.model_json_schema()}, SPARE, {}, (word,), lambda *_: True, most)
    dice, given = Random(seed), list[Json]()
    while len(given) < most:
        schema = next_step(kit, checked(kit, {"steps": given}, trusted("local", "user")).steps if given else ())
        assert schema is not None
        said = drawn(schema, schema, dice)
        if said == END:
            break
        given.append(said)
    assert checked(kit, {"steps": given}, trusted("local", "user")).digest

"""The planner: the worker writes a plan step by step, from trusted input only; then the plan is checked and frozen.

What the worker is shown: what the user typed, the goal, constants and readers of the workflow, names and JSON types of
its data, and of the tools their names, arguments and fields. No result, no attachment, no memory, and no description
that a tool server gives of itself. So the plan says what the user wants, whatever the data will say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import BaseModel

from runtime.agents.proposal import AskContext
from runtime.conductor.done import Done
from runtime.conductor.plans.check import checked
from runtime.conductor.plans.form import Form
from runtime.conductor.plans.grammar import END, next_step
from runtime.conductor.plans.kit import Kit
from runtime.conductor.thinking import Thinking
from runtime.gate.plan import Plan
from runtime.gate.provenance.grounds import CONSTANT, leaves
from store.records.canonical import Json
from store.records.errors import ModelFailed, SettingsError
from store.records.kinds import Kind
from store.records.labels import Integrity, Labels
from tools.record import ToolRecord

MOST_STEPS = 12


@dataclass(frozen=True)
class Order:
    """What a workflow asks to have planned. `data` is what steps may use, which the plan is written without."""

    goal: str
    tools: tuple[str, ...]
    readers: Mapping[str, type[BaseModel]]
    constants: Mapping[str, Json]
    data: Mapping[str, Json]
    steps: int


@dataclass(frozen=True)
class Planner:
    """One plan of one run."""

    thinking: Thinking
    order: Order

    async def frozen(self) -> Plan:
        """The plan, on record before anything is done by it; a replay gets the one on record.

        Raises ModelFailed for one that is not valid, SettingsError for an order that nothing could be made of.
        """
        scope, order = self.thinking.scope, self.order
        self._check_trusted()
        kit = self._kit()
        steps = await self._written(kit)

        async def live(_path: str) -> Done:
            plan = checked(kit, {"steps": steps}, scope.labels)
            value = {"steps": steps, "constants": dict(plan.constants), "labels": plan.labels.json()}
            return Done(value, plan.labels, {"decision": plan.digest})

        asked = {"steps": steps, "constants": sorted(order.constants), "data": sorted(order.data)}
        value = await scope.step("freeze", "", asked, live, by="model", actor="worker", event=Kind.PLAN_FROZEN)
        kept = {"steps": value["steps"], "constants": value["constants"]}
        scope.plan = Plan.parse(kept, Labels.parse(value["labels"]))
        return scope.plan

    async def _written(self, kit: Kit) -> list[Json]:
        """What the worker says, a step at a time, until it ends the plan or says the same again."""
        given: list[Json] = []
        while len(given) < kit.most:
            said = await self._said(kit, given)
            if said == END or _again(said, given):
                break
            given = [*given, said]
        return given

    async def _said(self, kit: Kit, given: list[Json]) -> Json:
        """What the worker says after these steps: the next one, or the end."""
        scope, order = self.thinking.scope, self.order

        async def live(path: str) -> Done:
            schema = next_step(kit, checked(kit, {"steps": given}, scope.labels).steps if given else ())
            if schema is None:
                raise ModelFailed("no step of a plan can be made of the user's words, the constants and the data")
            question = f"{order.goal}\n\n{told(kit)}\n\nThe plan so far:\n{_compact(given)}\n\nNext step?"
            context = AskContext("\n\n".join(scope.grounds.words), question, schema, None, self.thinking.allowance())
            return await self.thinking.answer(path, context, f"step {len(given) + 1} of the plan")

        asked = {"goal": order.goal, "tools": list(order.tools), "after": given}
        return await scope.step("plan", "next step", asked, live, by="model", actor="worker")

    def _kit(self) -> Kit:
        scope, order = self.thinking.scope, self.order
        if not 1 <= order.steps <= MOST_STEPS:
            raise SettingsError(f"a plan has 1 to {MOST_STEPS} steps", f"run {scope.run}")

        tools = {name: scope.tool(name) for name in order.tools}
        calls = {name: scope.call("", tool, {}, "rule") for name, tool in tools.items()}

        def trusts(tool: ToolRecord, argument: str, value: Json) -> bool:
            call = replace(calls[tool.name], arguments={argument: value})
            return scope.services.gate.labelled.vouches(call)

        return Kit(
            tools,
            {name: reader.model_json_schema() for name, reader in order.readers.items()},
            order.constants,
            {name: Form.like(value) for name, value in order.data.items()},
            scope.grounds.words,
            trusts,
            order.steps,
        )

    def _check_trusted(self) -> None:
        """Raise SettingsError for a goal or a constant that could have been made of what was read."""
        scope, order = self.thinking.scope, self.order
        trusted = scope.labels.integrity is Integrity.TRUSTED or order.goal in scope.grounds.words
        if not trusted and scope.grounds.source_of(order.goal) != CONSTANT:
            what = "a plan is written from trusted input, and this run has read what is not"
            raise SettingsError(what, f"run {scope.run}", "declare the goal with run.const")
        for name, value in order.constants.items():
            if any(scope.grounds.source_of(leaf) != CONSTANT for leaf in leaves(value)):
                raise SettingsError("a plan was given a constant that is not declared", name, "use run.const")


def told(kit: Kit) -> str:
    """The kit in words: what a plan may be made of."""
    lines = ["Tools:", *(_tool(kit, tool) for tool in kit.tools.values())]
    if kit.readers:
        lines += ["", "Readers, which make this out of a text:"]
        lines += [f"{name} gives {_fields(Form.of(schema))}" for name, schema in kit.readers.items()]
    if kit.constants:
        lines += ["", "Constants:", *(f"{name} = {_compact(value)}" for name, value in kit.constants.items())]
    if kit.data:
        lines += ["", "Data:", *(f"{name}: {_kinds(form)}" for name, form in kit.data.items())]
    return "\n".join(lines)


def _tool(kit: Kit, tool: ToolRecord) -> str:
    """A tool's name, arguments and results, without any text of its server's."""
    arguments = ", ".join(f"{name}: {_kinds(form)}" for name, form in kit.wanted(tool).items())
    return f"{tool.name}({arguments}) gives {_fields(Form.of(tool.output_schema))}"


def _fields(form: Form) -> str:
    return ", ".join(f"{name}: {_kinds(each)}" for name, each in form.fields().items()) or "something"


def _kinds(form: Form) -> str:
    return " or ".join(sorted(form.kinds)) if len(form.kinds) < 4 else "any"


def _again(said: Json, given: list[Json]) -> bool:
    """Whether a step is one that is in the plan already: a second time the same was not meant."""
    return any({**said, "name": each["name"]} == each for each in given)


def _compact(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

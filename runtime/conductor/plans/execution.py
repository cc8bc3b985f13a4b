"""A frozen plan, carried out: reads and readings as its steps come, effects staged for one review and one commit.

Each call is labelled by the plan and by the variables that it uses; what else was read has no say in it, for it had
none in the plan. A reading is a model call that has no tools, sees one value and gives what its schema says: whatever
that value tells it to do, there is nothing that it could do (Willison's dual-LLM pattern, 2023).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ValidationError

from runtime.agents.call_schema import answer_schema
from runtime.agents.proposal import AskContext, Turn
from runtime.conductor.arguments import check
from runtime.conductor.changes import staged_here
from runtime.conductor.done import Done
from runtime.conductor.thinking import Thinking
from runtime.contract.values import Ref
from runtime.gate.labelled import result_labels
from runtime.gate.plan import DATA, ITEM, Placed, Plan, Step, Value, Values
from store.records.canonical import Json
from store.records.errors import ModelFailed, SettingsError, ToolFailed
from store.records.labels import Classification, Integrity, Labels
from tools.record import ToolRecord

MOST_ITEMS = 32
"""Items of a list that a step is done for each of: a list of more is not begun."""


@dataclass
class Execution:
    """One plan, step by step. `values` are what its variables are bound to, the workflow's data to begin with."""

    thinking: Thinking
    plan: Plan
    readers: Mapping[str, type[BaseModel]]
    values: dict[str, Value]
    effects: set[str] = field(default_factory=set)

    async def run(self) -> dict[str, Json]:
        """What every step gave, but for effects: these are staged. Raises ModelFailed if a value is not what the plan
        takes it for, ToolFailed if a tool answers with an error."""
        given = self.values.keys() | set()
        for number, step in enumerate(self.plan.steps, 1):
            try:
                self.values[step.name] = await self._step(step)
            except (LookupError, SettingsError) as error:
                why = error.what if isinstance(error, SettingsError) else "a value lacks the field that it takes"
                raise ModelFailed(f"step {number} of the plan cannot be done: {why}") from None
        return {name: each.value for name, each in self.values.items() if name not in given | self.effects}

    async def _step(self, step: Step) -> Value:
        """What a step gives; done for each item of a list, the list of what it gives each time."""
        if step.each is None:
            return await self._once(step, self.values)
        listed = Placed(self.plan, step.name, self.values).value(step.each)
        if not isinstance(listed.value, list):
            raise SettingsError("it maps over what is no list")
        if len(listed.value) > MOST_ITEMS:
            raise SettingsError(f"it maps over {len(listed.value)} items, and {MOST_ITEMS} are allowed")
        items = [Value(item, listed.labels) for item in listed.value]
        done = [await self._once(step, {**self.values, ITEM: item}) for item in items]
        labels = self.plan.labels.join(listed.labels, *(each.labels for each in done))
        return Value([each.value for each in done], labels)

    async def _once(self, step: Step, values: Values) -> Value:
        placed = Placed(self.plan, step.name, dict(values))
        if step.reader:
            return await self._reading(step.reader, placed)
        tool = self.thinking.scope.tool(step.tool)
        return await self._call(tool, placed) if tool.local_read else self._stage(tool, placed)

    async def _call(self, tool: ToolRecord, placed: Placed) -> Value:
        scope = self.thinking.scope
        arguments = {name: each.value for name, each in placed.arguments().items()}
        check(tool.input_schema, arguments, tool.name)
        result, failed = await scope.read(tool.name, arguments, by="model", placed=placed)
        self.thinking.turns.append(Turn(tool.name, arguments, result, failed))
        if failed:
            raise ToolFailed("the tool answered with an error", tool.name)
        return Value(result, result_labels(scope.call("", tool, arguments, "model", placed), error=False))

    def _stage(self, tool: ToolRecord, placed: Placed) -> Value:
        arguments = {
            name: Ref(*each.value["$ref"]) if each.effect else each.value for name, each in placed.arguments().items()
        }
        staged = staged_here.get().stage(tool.name, arguments, by="model")
        self.thinking.scope.placed[staged.step] = placed
        self.effects.add(placed.step)
        return Value(None, placed.labels(), staged.step)

    async def _reading(self, reader: str, placed: Placed) -> Value:
        """What the quarantined reader makes of a value: as trusted, and as secret, as that value and no more."""
        scope, model = self.thinking.scope, self.readers[reader]
        schema = answer_schema(model.model_json_schema())  # closed: a field that nobody asked for is a way past it
        data = placed.arguments()[DATA].value
        read = Labels(scope.user.tenant, Classification.PUBLIC, Integrity.TRUSTED, (f"reader:{reader}",))
        labels = placed.labels().join(read)

        async def live(path: str) -> Done:
            said = " ".join((model.__doc__ or "").split())
            question = f"Say what the data has of this, and nothing else: {reader}. {said}"
            task = "\n\n".join(scope.grounds.words)
            context = AskContext(task, question, schema, data, self.thinking.allowance())
            return replace(await self.thinking.answer(path, context, reader), labels=labels)

        value = await scope.step("read", reader, {"data": data}, live, by="model", actor="worker")
        try:
            model.model_validate(value)
        except ValidationError as error:  # rules that a JSON Schema does not show
            raise ModelFailed("the reading does not fit its model", f"{error.error_count()} wrong") from None
        return Value(value, labels)

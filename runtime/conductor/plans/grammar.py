"""The grammar of a plan's next step: the JSON Schema that the worker's answer is decoded by.

It is drawn up anew for each step, from the kit and from the steps before it: so every tool is one that was given, every
variable is bound, every field is one that its form has and of a type that the argument takes, and every value stands in
the user's own words. Whether a step keeps to it is checked all the same (check.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runtime.conductor.plans.form import Form
from runtime.conductor.plans.kit import Kit, Variable, takes_effects
from runtime.gate.plan import ITEM, Step
from store.records.canonical import Json
from tools.record import ToolRecord

END = {"end": True}
"""What the worker says instead of a step when the plan is whole."""
Schema = dict[str, Any]
Variables = Mapping[str, Variable]


def next_step(kit: Kit, steps: Sequence[Step]) -> Schema | None:
    """The schema of the step after these, or of the end; None if there is no step that could be made."""
    grammar = _Grammar(kit)
    options = list(grammar.options(kit.variables(steps)))
    named = [_object({"name": {"const": f"v{len(steps) + 1}"}, **option}) for option in options]
    if steps:
        named.append(_object({"end": {"const": True}}))
    return {"anyOf": named, "$defs": grammar.definitions} if named else None


class _Grammar:
    """One schema on its way. Values out of the user's words stand in `definitions`, each list of them once."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self.definitions: dict[str, Schema] = {}

    def options(self, variables: Variables) -> Iterator[Schema]:
        """Every step that could be made, but for its name."""
        for tool in self._kit.tools.values():
            yield from self._calls(tool, variables)
        for reader in self._kit.readers:
            yield from _readings(reader, variables)

    def _calls(self, tool: ToolRecord, variables: Variables) -> Iterator[Schema]:
        """A call, and one for each item of every list, in which some argument is the item."""
        plain = self._arguments(tool, variables, {})
        if plain is not None:
            yield {"call": {"const": tool.name}, "arguments": plain}
        for each, items in _lists(variables):
            inside = {**variables, ITEM: Variable(items)}
            for argument, wanted in self._kit.wanted(tool).items():
                taken = list(_fitting(ITEM, inside[ITEM], wanted))
                arguments = self._arguments(tool, inside, {argument: taken}) if taken else None
                if arguments is not None:
                    yield {"call": {"const": tool.name}, "each": each, "arguments": arguments}

    def _arguments(self, tool: ToolRecord, variables: Variables, given: Mapping[str, list[Schema]]) -> Schema | None:
        """The arguments of a call, some from `given` sources; None if one that it needs can come from nowhere."""
        needed = {*tool.input_schema.get("required", []), *given}
        found = {
            argument: given.get(argument) or list(self._sources(tool, argument, wanted, variables))
            for argument, wanted in self._kit.wanted(tool).items()
        }
        properties = {argument: {"anyOf": sources} for argument, sources in found.items() if sources}
        if not needed <= properties.keys():
            return None
        return _object(properties, [argument for argument in properties if argument in needed])

    def _sources(self, tool: ToolRecord, argument: str, wanted: Form, variables: Variables) -> Iterator[Schema]:
        """Everything that one argument may come from."""
        if offered := self._kit.offered(tool, argument):
            yield _object({"value": self._words(offered)})
        if named := self._kit.named(tool, argument):
            yield _object({"constant": {"enum": named}})
        for name, variable in variables.items():
            if not variable.effect or takes_effects(tool, argument):
                yield from _fitting(name, variable, wanted)

    def _words(self, values: list[Json]) -> Schema:
        known = next((name for name, each in self.definitions.items() if each["enum"] == values), "")
        name = known or f"words{len(self.definitions)}"
        self.definitions[name] = {"enum": values}
        return {"$ref": f"#/$defs/{name}"}


def _readings(reader: str, variables: Variables) -> Iterator[Schema]:
    """A reading of any variable or field, and one of each item of every list."""
    known = [(name, each) for name, each in variables.items() if not each.effect]
    if sources := [source for name, each in known for source in _fitting(name, each, Form())]:
        yield {"read": {"const": reader}, "of": {"anyOf": sources}}
    for each, items in _lists(variables):
        yield {"read": {"const": reader}, "each": each, "of": {"anyOf": list(_fitting(ITEM, Variable(items), Form()))}}


def _fitting(name: str, variable: Variable, wanted: Form) -> Iterator[Schema]:
    """A variable as a whole, and those of its fields that may be what is wanted. An effect gives fields only."""
    if not variable.effect and variable.form.may_be(wanted):
        yield _object({"variable": {"const": name}})
    if fields := [field for field, form in variable.form.fields().items() if form.may_be(wanted)]:
        yield _object({"variable": {"const": name}, "field": {"enum": fields}})


def _lists(variables: Variables) -> Iterator[tuple[Schema, Form]]:
    """Every variable and every field that is known to be a list, with the form of its items."""
    for name, variable in variables.items():
        if variable.effect:
            continue
        if variable.form.is_list:
            yield _object({"variable": {"const": name}}), variable.form.items()
        for field, form in variable.form.fields().items():
            if form.is_list:
                yield _object({"variable": {"const": name}, "field": {"const": field}}), form.items()


def _object(properties: Mapping[str, Json], required: Sequence[str] | None = None) -> Schema:
    """A closed object, of which everything is required unless said otherwise."""
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": dict(properties), "required": names, "additionalProperties": False}

"""A frozen plan: which calls a run makes, in which order, and where each argument comes from, said before any of it.

A plan has steps in a row and no branches; a step may be done for each item of a list, and that is the only loop. What a
step gives binds to a variable, with its labels. A variable is only ever a value: nothing that was read can add a step,
leave one out or change which tool it calls (CaMeL, Debenedetti et al., Defeating Prompt Injections by Design, 2025).

Plain data and no I/O. Whether a plan is any good is checked elsewhere, before it is frozen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from store.records.canonical import Json, canonical, digest
from store.records.labels import Labels

ITEM = "item"
"""The variable that stands for one item, in a step that is done for each."""
DATA = "data"
"""What a reading reads, among the arguments of its step."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an argument comes from: a `value` out of the user's own words, or the constant or variable of that `name`.

    Of a variable it may be one `field` only.
    """

    kind: str
    value: Json = None
    name: str = ""
    field: str = ""

    @classmethod
    def parse(cls, given: Json) -> "Source":
        """The source in `given`, as the grammar of plans has it. Raises ValueError."""
        match given:
            case {"value": value, **rest} if not rest:
                return cls("value", value=value)
            case {"constant": str(name), **rest} if not rest:
                return cls("constant", name=name)
            case {"variable": str(name), **rest} if not rest:
                return cls("variable", name=name)
            case {"variable": str(name), "field": str(field), **rest} if not rest:
                return cls("variable", name=name, field=field)
        raise ValueError("an argument that comes from nowhere")


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a call of `tool`, or what the quarantined reader reads out of data as a `reader`'s schema says.

    `name` is the variable that it binds; with `each` the step is done for every item of that list.
    """

    name: str
    tool: str = ""
    reader: str = ""
    arguments: Mapping[str, Source] = field(default_factory=dict)
    each: Source | None = None

    @classmethod
    def parse(cls, given: Json) -> "Step":
        """The step in `given`, as the grammar of plans has it. Raises ValueError."""
        if not isinstance(given, dict):
            raise ValueError("no step")
        each = Source.parse(given["each"]) if "each" in given else None
        match {key: value for key, value in given.items() if key != "each"}:
            case {"name": str(name), "call": str(tool), "arguments": dict(arguments), **rest} if not rest:
                found = {argument: Source.parse(source) for argument, source in arguments.items()}
                return cls(name, tool=tool, arguments=found, each=each)
            case {"name": str(name), "read": str(reader), "of": source, **rest} if not rest:
                return cls(name, reader=reader, arguments={DATA: Source.parse(source)}, each=each)
        raise ValueError("neither a call nor a reading")

    def sources(self) -> Iterator[Source]:
        """Where everything in the step comes from, what it is done for each of included."""
        if self.each is not None:
            yield self.each
        yield from self.arguments.values()


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order. `constants` are those of the workflow that it may use; `labels` of all that led to it."""

    steps: tuple[Step, ...]
    constants: Mapping[str, Json]
    labels: Labels
    digest: str

    @classmethod
    def parse(cls, given: Json, labels: Labels) -> "Plan":
        """The plan `{"steps": [...], "constants": {...}}`. Raises ValueError."""
        match given:
            case {"steps": list(steps), "constants": dict(constants), **rest} if not rest:
                return cls(tuple(map(Step.parse, steps)), constants, labels, digest(given))
        raise ValueError("no plan")

    def step(self, name: str) -> Step | None:
        """The step of this name, if there is one."""
        return next((step for step in self.steps if step.name == name), None)


@dataclass(frozen=True, slots=True)
class Value:
    """What a variable is bound to, with the labels of everything that led to it.

    `effect` is the step of an effect that has not happened yet: its fields are references until they are filled in.
    """

    value: Json
    labels: Labels
    effect: str = ""

    def get(self, name: str) -> "Value":
        """One field of it, which is labelled as the whole. Raises LookupError if it has none of this name."""
        if self.effect:
            return Value({"$ref": [self.effect, name]}, self.labels, self.effect)
        if isinstance(self.value, dict) and name in self.value:
            return Value(self.value[name], self.labels)
        raise LookupError("no such field")


Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Placed:
    """A call's place in a frozen plan: the `step` that it is, empty if it is none, and what the variables are bound to.

    In a step that is done for each item, `values` has the item besides.
    """

    plan: Plan
    step: str = ""
    values: Values = field(default_factory=dict)

    def labels(self) -> Labels:
        """The labels of the call: those of the plan and of every variable that it uses, and nothing else's. How often
        a step is done for each item follows from the list, so the list counts, whatever of an item is used."""
        step = self.plan.step(self.step)
        used = [self.values[source.name] for source in step.sources() if source.kind == "variable"] if step else []
        return self.plan.labels.join(*(each.labels for each in used))

    def arguments(self) -> dict[str, Value]:
        """The arguments that the plan says. Raises LookupError for a variable without a value, or without the field."""
        step = self.plan.step(self.step)
        return {name: self.value(source) for name, source in step.arguments.items()} if step else {}

    def value(self, source: Source) -> Value:
        """What a source gives here. Raises LookupError."""
        if source.kind == "value":
            return Value(source.value, self.plan.labels)
        if source.kind == "constant":
            return Value(self.plan.constants[source.name], self.plan.labels)
        known = self.values[source.name]
        return known.get(source.field) if source.field else known

    def sources(self, argument: str) -> tuple[str, ...]:
        """Where the value of an argument came from, as the labels of its variable have it; nothing if it has none."""
        step = self.plan.step(self.step)
        source = step.arguments.get(argument) if step else None
        known = self.values.get(source.name) if source is not None and source.kind == "variable" else None
        return known.labels.sources if known is not None else ()

    def often(self) -> Labels | None:
        """The labels of that which says how often the call is made: of the list, if its step is done for each of
        several items; None if it is made once. Raises LookupError for a list without a value."""
        step = self.plan.step(self.step)
        listed = self.value(step.each) if step and step.each else None
        return None if listed is None or (isinstance(listed.value, list) and len(listed.value) < 2) else listed.labels

    def problem(self, tool: str, arguments: Mapping[str, Any], labels: Labels) -> str:
        """In what a call is not the one that the plan has here; empty if it is that very call.

        A reference is filled in when the effect before it has happened: then any value stands in its place.
        """
        step = self.plan.step(self.step)
        if step is None or step.tool != tool:
            return "is not in the frozen plan"
        try:
            planned = self.arguments()
            if planned.keys() != arguments.keys():
                return "has other arguments than in the frozen plan"
            for name, each in planned.items():
                if not each.effect and canonical(each.value) != canonical(arguments[name]):
                    return "has other values than in the frozen plan"
            return "" if labels.join(self.labels()) == labels else "has less on its labels than its values"
        except (LookupError, ValueError, TypeError, RecursionError):
            return "cannot be compared with the frozen plan"

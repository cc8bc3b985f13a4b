"""The kit: all that a plan may be made of. Grammar and check are both drawn from it, so that they say the same.

It holds nothing that was read: of what the workflow hands over as data it has names and JSON types, and of the words of
tools' servers the plain names of arguments and fields, with their types.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.conductor.plans.form import PLAIN, Form
from runtime.gate.plan import ITEM, Source, Step
from runtime.gate.provenance.tokens import Kind
from runtime.gate.provenance.words import words
from store.records.canonical import Json
from store.records.errors import SettingsError
from tools.record import ToolRecord
from tools.schema import Checker

LONGEST_PHRASE = 12
"""Tokens of the user's words that are offered as one value."""
MOST_PHRASES = 256
"""Values out of the user's words that are offered for an argument, the shortest first."""


@dataclass(frozen=True)
class Variable:
    """What is known of a variable before it has a value. What an `effect` gives is there at commit only, by field."""

    form: Form
    effect: bool = False


@dataclass(frozen=True)
class Kit:
    """What one plan may be made of.

    `readers` are JSON Schemas by name, `constants` the workflow's, `data` what it hands over, as far as its form goes,
    and `texts` what the user typed; `trusts` says whether a value is trusted as an argument of a tool. `most` is how
    many steps a plan may have. Raises SettingsError for a name that is not plain.
    """

    tools: Mapping[str, ToolRecord]
    readers: Mapping[str, dict[str, Any]]
    constants: Mapping[str, Json]
    data: Mapping[str, Form]
    texts: tuple[str, ...]
    trusts: Callable[[ToolRecord, str, Json], bool]
    most: int
    _offered: dict[tuple[str, str], list[Json]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names."""
        for name in (*self.readers, *self.constants, *self.data):
            if not PLAIN.match(name) or name == ITEM:
                raise SettingsError("a plan cannot speak of what has no plain name", name[:64], "use letters and _")

    def variables(self, steps: Iterable[Step]) -> dict[str, Variable]:
        """What is bound once these steps are done: the data, and a variable for each step."""
        handed = {name: Variable(form) for name, form in self.data.items()}
        return handed | {step.name: self._bound(step) for step in steps}

    def _bound(self, step: Step) -> Variable:
        if step.reader:
            form, effect = Form.of(self.readers[step.reader]), False
        else:
            form, effect = Form.of(self.tools[step.tool].output_schema), not self.tools[step.tool].local_read
        return Variable(form if step.each is None else Form.list_of(form), effect)

    def form(self, source: Source, variables: Mapping[str, Variable]) -> Form | None:
        """The form of what a variable or one of its fields gives; None if it has no such field."""
        known = variables[source.name].form
        if not source.field:
            return known
        fields = known.fields()
        if not fields and "object" in known.kinds:
            return Form()  # nobody has said what fields there are
        return fields.get(source.field)

    def wanted(self, tool: ToolRecord) -> dict[str, Form]:
        """The form of each argument of a tool."""
        return Form.of(tool.input_schema).fields()

    def fits(self, tool: ToolRecord, argument: str, value: Json) -> bool:
        """Whether a constant value is one that the tool takes for this argument."""
        form = self.wanted(tool)[argument]
        definitions = {word: each for word, each in form.root.items() if word in ("$defs", "definitions")}
        return not Checker(form.schema | definitions).problem(value)

    def offered(self, tool: ToolRecord, argument: str) -> list[Json]:
        """The values out of the user's words that fit an argument and are trusted as one."""
        known = self._offered.get((tool.name, argument))
        if known is None:
            known = [each for each in self._phrases() if self.fits(tool, argument, each)]
            known = [each for each in known if self.trusts(tool, argument, each)]
            self._offered[tool.name, argument] = known
        return known

    def named(self, tool: ToolRecord, argument: str) -> list[str]:
        """The constants that fit an argument."""
        return [name for name, value in self.constants.items() if self.fits(tool, argument, value)]

    def _phrases(self) -> list[Json]:
        """Numbers and runs of words that the user typed, the shortest first; of a quotation the whole."""
        numbers: list[Json] = []
        found: dict[str, int] = {}
        for text in map(words, self.texts):
            numbers += [float(each) if "." in each else int(each) for each in text.of(Kind.NUMBER)]
            for phrase, (start, end) in text.phrases(LONGEST_PHRASE):
                found.setdefault(phrase, end - start)
        return [*numbers, *sorted(found, key=found.__getitem__)[:MOST_PHRASES]]


def takes_effects(tool: ToolRecord, argument: str) -> bool:
    """Whether an argument may be what an earlier effect gives: not so where it decides what is touched."""
    return not tool.local_read and argument not in (*tool.consequential, tool.target)


def of_item(source: Source) -> bool:
    """Whether a source is the item of a step that is done for each."""
    return source.kind == "variable" and source.name == ITEM

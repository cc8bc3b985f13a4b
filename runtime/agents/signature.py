"""A tool as a model reads it: the head of a Python function with a docstring.

The words are a tool server's own and may be anything: each text is kept to its own line and within a bounded length, so
that none can pass for another tool or fill the prompt. What a line leaves out, the grammar still enforces.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from runtime.agents.proposal import ToolView

LONGEST_TOOL = 2000
"""Characters of a tool; one with more is told by its head and description, or by its name alone."""
LONGEST_TEXT = 400
"""Characters of a description."""
LONGEST_VALUE = 200
"""Characters of a type or of a default."""
LONGEST_NAME = 64
MOST_ARGUMENTS = 40
"""Arguments of a tool that are written out, those of nested objects among them."""
MOST_OPTIONS = 4
"""Types that a value may have which are written out."""
MOST_VALUES = 32
"""Values of an enumeration that are looked at; fewer fit."""
DEEPEST = 3
"""Levels of nested objects that are written out: a schema may refer to itself."""
INDENT = "    "
_NAME = re.compile(rf"[\w.$/-]{{1,{LONGEST_NAME}}}")
_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "object": "dict",
    "array": "list",
    "null": "None",
}


def signature(tool: ToolView, longest: int = LONGEST_TOOL) -> str:
    """The lines of one tool: its name and its arguments with their types and defaults, then what each is for.

    Of a tool that has more than `longest` characters so much is left out that it has not, or else all but its name and
    description.
    """
    reader = _Reader(tool.schema)
    head = ", ".join(islice(reader.parameters(), MOST_ARGUMENTS))
    about = list(islice(reader.lines(tool.schema, 1), MOST_ARGUMENTS))
    said = line(tool.description, LONGEST_TEXT)
    # What the quotes after it must not be taken for a part of.
    said += " " * said.endswith(('"', "\\"))
    lines = [f"def {_name(tool.name)}({head}):", f'{INDENT}"""{said}']
    whole = "\n".join([*lines, "", *about, f'{INDENT}"""']) if about else "\n".join(lines) + '"""'
    shorter = (whole, "\n".join(lines) + '"""', f'def {_name(tool.name)}(...):\n{INDENT}"""{said}"""')
    return next((text for text in shorter if len(text) <= longest), shorter[-1])


class _Reader:
    """Reads one tool's schema, whose parts may refer to its definitions."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._definitions = {
            f"#/{word}/{name}": each
            for word in ("$defs", "definitions")
            for name, each in _object(schema, word).items()
        }

    def parameters(self) -> Iterator[str]:
        """The arguments as the head has them. What may be left out has a default, as in Python."""
        for name, schema, required in self._arguments(self._schema):
            value = _value(schema["default"]) if "default" in schema else "..."
            yield f"{_name(name)}: {self._type(schema)}" + ("" if required else f" = {value}")

    def lines(self, schema: dict[str, Any], level: int) -> Iterator[str]:
        """What each argument is for, and below it the properties of an object, with their types."""
        for name, each, required in self._arguments(schema):
            kind = f" ({self._type(each)}{'' if required else ', optional'})" if level > 1 else ""
            said = line(str(each.get("description", "")), LONGEST_TEXT)
            parts = list(self._objects(each, DEEPEST)) if level < DEEPEST else []
            if said or kind or parts:
                yield f"{INDENT * level}{_name(name)}{kind}" + (f": {said}" if said else "")
            for part in parts:
                yield from self.lines(part, level + 1)

    def _arguments(self, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
        """Name, schema, and whether it is required, of each argument."""
        required = schema.get("required", ())
        for name, each in islice(_object(schema, "properties").items(), MOST_ARGUMENTS):
            yield name, self._resolved(each), name in required

    def _objects(self, schema: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
        """The schemas of objects that a value is, holds as a list, or may be."""
        if "properties" in schema:
            yield schema
        elif depth:
            for part in (schema.get("items"), *_options(schema)):
                yield from self._objects(self._resolved(part), depth - 1)

    def _type(self, schema: dict[str, Any]) -> str:
        return line(self._kind(schema, DEEPEST), LONGEST_VALUE)

    def _kind(self, schema: dict[str, Any], depth: int) -> str:
        """A type as Python writes it: `int`, `list[str]`, `Literal["up", "down"]`."""
        if "const" in schema or "enum" in schema:
            values = schema.get("enum", [schema.get("const")])
            return f"Literal[{', '.join(map(_value, islice(values, MOST_VALUES)))}]"
        options = _options(schema)
        if options and depth:
            return " | ".join(dict.fromkeys(self._kind(self._resolved(each), depth - 1) for each in options))
        kind = schema.get("type")
        if isinstance(kind, list):
            return " | ".join(_TYPES.get(str(each), "Any") for each in kind)
        items = self._resolved(schema.get("items"))
        if kind == "array" and items and depth:
            return f"list[{self._kind(items, depth - 1)}]"
        return _TYPES.get(str(kind), "dict" if "properties" in schema else "Any")

    def _resolved(self, schema: Any) -> dict[str, Any]:
        """A schema together with the definition that it refers to. What is no object says nothing about a value."""
        if not isinstance(schema, dict):
            return {}
        found = self._definitions.get(str(schema.get("$ref", "")))
        return {**found, **schema} if isinstance(found, dict) else schema


def _object(schema: dict[str, Any], word: str) -> dict[str, Any]:
    found = schema.get(word)
    return found if isinstance(found, dict) else {}


def _options(schema: dict[str, Any]) -> list[Any]:
    found = schema.get("anyOf", schema.get("oneOf", schema.get("allOf")))
    return found[:MOST_OPTIONS] if isinstance(found, list) else []


def _name(name: str) -> str:
    """A name as it is, or quoted if it could be read as more than a name."""
    return name if _NAME.fullmatch(name) else json.dumps(line(name, LONGEST_NAME), ensure_ascii=False)


def _value(value: Any) -> str:
    """A value in JSON, but for Python's words for nothing, true and false."""
    if value is None or isinstance(value, bool):
        return str(value)
    return line(json.dumps(value, ensure_ascii=False), LONGEST_VALUE)


def line(text: str, most: int) -> str:
    """A text on one line, without control characters, which cannot end the docstring that it stands in. Of one that is
    much too long only the beginning is looked at."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * most])
    found = " ".join(shown.split()).replace('"""', "'''")
    return found if len(found) <= most and len(text) <= 4 * most else f"{found[: most - 1]}…"

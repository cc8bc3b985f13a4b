"""What an answer is bound to: the grammar that enforces it, and the check that it was enforced."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from llguidance import LLMatcher

from models.engine.pattern import Pattern, escaped
from models.engine.recursion import check_recursion
from models.engine.schema import Schema, decodable
from models.engine.validator import CallsCheck, ChoiceCheck, RegexCheck, SchemaCheck
from models.errors import SchemaUnsupported
from models.request import Request, ToolSpec

LONGEST_SCHEMA = 256 * 1024
# Overrides as well as defaults, since a schema could carry options of its own.
_OPTIONS: Any = {"whitespace_flexible": False, "coerce_one_of": False, "lenient": False}


class Check(Protocol):
    """Says whether a finished answer is what was asked for."""

    def check(self, text: str) -> None:
        """Raises ModelFailed, without quoting the text, if it is not."""
        ...


@dataclass(frozen=True, slots=True)
class Constraint:
    """A grammar in llguidance's own notation, and the check of what it lets through."""

    grammar: str
    check: Check


def constraint_key(request: Request) -> str:
    """What an admitted request is bound to, as a text that tells it from all others; empty if to nothing.

    The order of properties counts: it is the order in which the model writes them.
    """
    if request.regex or request.choices:
        return dumped([request.regex, request.choices])
    if request.tools and request.tool_choice == "required":
        return dumped([request.parallel_calls, [(tool.name, tool.parameters) for tool in request.tools]])
    return "" if request.schema is None else dumped(request.schema)


def constraint(request: Request) -> Constraint:
    """The constraint of an admitted request that has one.

    Raises SchemaUnsupported if it is malformed or cannot be enforced.
    """
    if request.regex:
        pattern = Pattern(request.regex)
        return Constraint(LLMatcher.grammar_from_regex(pattern.rust), RegexCheck(pattern))
    if request.choices:
        expression = "|".join(map(escaped, request.choices))
        return Constraint(LLMatcher.grammar_from_regex(expression), ChoiceCheck(frozenset(request.choices)))
    if request.schema is not None:
        check = SchemaCheck(request.schema)
        return Constraint(_grammar(decodable(request.schema)), check)
    tools = {tool.name: _arguments(tool) for tool in request.tools}
    check_calls = CallsCheck(tools, several=request.parallel_calls)
    return Constraint(_grammar(_calls(tools, several=request.parallel_calls)), check_calls)


def dumped(value: Any) -> str:
    """Compact JSON. Raises SchemaUnsupported if the value has none, or too much."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaUnsupported("the schema is not JSON", "", "give a JSON Schema as an object") from error
    if len(text) > LONGEST_SCHEMA:
        raise SchemaUnsupported(f"the schema has {len(text)} characters, more than {LONGEST_SCHEMA}")
    return text


def _arguments(tool: ToolSpec) -> Schema:
    """The schema of a tool's arguments, which are an object also if it does not say so."""
    if tool.parameters.get("type", "object") != "object":
        raise SchemaUnsupported("the arguments of a tool must be an object", f"tool {tool.name}", "correct its schema")
    if tool.parameters.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        return tool.parameters
    return {"type": "object", **tool.parameters}


def _calls(tools: Mapping[str, Schema], *, several: bool) -> Schema:
    """The schema of a call of one of the tools, or of an array of calls.

    The schema of each tool's arguments stands whole under its number, so that their definitions cannot meet.
    """
    options = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/{number}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for number, name in enumerate(tools)
    ]
    definitions = {str(number): _moved(name, tools[name], f"/$defs/{number}") for number, name in enumerate(tools)}
    call: Schema = {"anyOf": options}
    return {**({"type": "array", "items": call, "minItems": 1} if several else call), "$defs": definitions}


def _moved(name: str, schema: Schema, place: str) -> Schema:
    try:
        return decodable(schema, place)
    except SchemaUnsupported as error:
        # The tool's name in place of where its schema stands in ours.
        inner = error.where.removeprefix(place)
        raise SchemaUnsupported(error.what, f"tool {name}{': ' if inner else ''}{inner}", error.do) from error


def _grammar(schema: Schema) -> str:
    check_recursion(schema)
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=_OPTIONS, overrides=_OPTIONS)

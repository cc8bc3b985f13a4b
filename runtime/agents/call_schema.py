"""The JSON Schemas that the worker's answers are decoded by: of the next call, which is one tool out of several with
arguments that fit its own schema, and of a typed answer.

Every word that a schema leaves open is one a small model may get lost in until its allowance is spent: so objects are
closed, texts and lists are bounded, and calls that could tell nothing new are left out. Whether an answer fits the
schema that it was made from is checked afterwards, by others.
"""

import re
from typing import Any

from runtime.agents.proposal import ToolView, Turn
from store.records.canonical import Json

DONE = "done"
LONGEST_TEXT = 400
LONGEST_LIST = 16
LONGEST_SUMMARY = 120
BOUNDS = ("maxLength", "enum", "const", "pattern", "format")
NOTES = ("title", "default", "examples", "description", "discriminator")
DEFINITIONS = ("$defs", "definitions")
"""Where definitions stand, in this and in older drafts of JSON Schema."""
SUMMARY = {
    "type": "object",
    "properties": {"summary": {"type": "string", "maxLength": LONGEST_SUMMARY}},
    "required": ["summary"],
}


def call_schema(tools: tuple[ToolView, ...], *, may_end: bool) -> dict[str, Any]:
    """The schema of one call among `tools`, or of the end of the loop.

    Definitions of a tool's schema move to the top, each under the tool's number, where references find them.
    """
    options: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for number, tool in enumerate(tools):
        place = f"{number}."
        options.append(_call(tool.name, _adapted(tool.schema, place)))
        definitions |= _definitions(tool.schema, place)
    if may_end:
        options.append(_call(DONE, _adapted(SUMMARY, "")))
    return {"anyOf": options, **({"$defs": definitions} if definitions else {})}


def answer_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of one answer that fits `schema`."""
    definitions = _definitions(schema, "")
    return {**_adapted(schema, ""), **({"$defs": definitions} if definitions else {})}


def _definitions(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """The definitions of a schema, each under the name by which references in it find it."""
    return {place + name: _adapted(each, place) for word in DEFINITIONS for name, each in schema.get(word, {}).items()}


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"tool": {"const": name}, "arguments": arguments},
        "required": ["tool", "arguments"],
        "additionalProperties": False,
    }


def _adapted(schema: Any, place: str) -> Any:
    """A schema for decoding: closed, bounded, its references pointing to where its definitions now are."""
    if not isinstance(schema, dict):
        return schema
    adapted: dict[str, Any] = {}
    for word, value in schema.items():
        if word == "$ref" and isinstance(value, str):
            adapted[word] = re.sub(r"^#/(\$defs|definitions)/", lambda _: f"#/$defs/{place}", value)
        elif word in ("const", "enum"):
            adapted[word] = value
        elif word in ("properties", "patternProperties"):
            adapted[word] = {name: _adapted(each, place) for name, each in value.items()}
        elif word in ("anyOf", "oneOf", "allOf", "prefixItems"):
            adapted["anyOf" if word == "oneOf" else word] = [_adapted(each, place) for each in value]
        elif word not in (*NOTES, *DEFINITIONS):
            adapted[word] = _adapted(value, place)
    return _bounded(adapted)


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with an end to everything that it leaves open."""
    kind = schema.get("type")
    if kind == "string" and not any(word in schema for word in BOUNDS):
        schema["maxLength"] = max(LONGEST_TEXT, schema.get("minLength", 0))
    if kind == "array":
        schema.setdefault("maxItems", max(LONGEST_LIST, schema.get("minItems", 0)))
    if kind == "object" and schema.setdefault("additionalProperties", False) is not False:
        schema.setdefault(
            "maxProperties", max(LONGEST_LIST, schema.get("minProperties", 0), len(schema.get("properties", {})))
        )
    return schema


def unused(tools: tuple[ToolView, ...], turns: tuple[Turn, ...]) -> tuple[ToolView, ...]:
    """The tools that can still tell something new: what was already asked with the same arguments is left out.

    Only calls whose arguments are all enumerated can be left out; small models otherwise ask the same thing again.
    """
    left = []
    for tool in tools:
        made = [turn.arguments for turn in turns if turn.tool == tool.name]
        rest = _without(tool.schema, made)
        if rest is not None:
            left.append(ToolView(tool.name, tool.description, rest, tool.write))
    return tuple(left)


def _without(schema: dict[str, Any], made: list[dict[str, Json]]) -> dict[str, Any] | None:
    """The schema without the calls made, or None if none is left."""
    properties = schema.get("properties", {})
    if not properties:
        return None if made else schema
    if len(properties) != 1:
        return schema
    name, only = next(iter(properties.items()))
    if "enum" not in only:
        return schema
    rest = [value for value in only["enum"] if {name: value} not in made]
    return {**schema, "properties": {name: {**only, "enum": rest}}} if rest else None

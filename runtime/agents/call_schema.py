"""The JSON Schema of the worker's next call: one tool out of several, with arguments that fit its own schema.

It is made for decoding, where every word it leaves open is one a small model may get lost in: objects are closed, texts
are bounded, and calls that could tell nothing new are left out. The tool host checks the arguments against the tool's
own schema afterwards.
"""

from typing import Any

from runtime.agents.proposal import ToolView, Turn
from store.records.canonical import Json

DONE = "done"
LONGEST_TEXT = 400
LONGEST_SUMMARY = 120
BOUNDS = ("maxLength", "enum", "const", "pattern", "format")
NOTES = ("title", "default", "examples", "description", "$defs")
SUMMARY = {
    "type": "object",
    "properties": {"summary": {"type": "string", "maxLength": LONGEST_SUMMARY}},
    "required": ["summary"],
}


def call_schema(tools: tuple[ToolView, ...], *, may_end: bool) -> dict[str, Any]:
    """The schema of one call among `tools`, or of the end of the loop.

    Definitions of a tool's schema move to the top, each under the tool's number, where references find them.
    """
    options, definitions = [], {}
    for number, tool in enumerate(tools):
        place = f"{number}."
        options.append(_call(tool.name, _adapted(tool.schema, place)))
        for name, schema in tool.schema.get("$defs", {}).items():
            definitions[place + name] = _adapted(schema, place)
    if may_end:
        options.append(_call(DONE, _adapted(SUMMARY, "")))
    return {"anyOf": options, **({"$defs": definitions} if definitions else {})}


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
            adapted[word] = value.replace("#/$defs/", f"#/$defs/{place}")
        elif word == "properties":
            adapted[word] = {name: _adapted(each, place) for name, each in value.items()}
        elif word in ("anyOf", "oneOf", "allOf", "prefixItems"):
            adapted["anyOf" if word == "oneOf" else word] = [_adapted(each, place) for each in value]
        elif word not in NOTES:
            adapted[word] = _adapted(value, place)
    if adapted.get("type") == "string" and not any(word in adapted for word in BOUNDS):
        adapted["maxLength"] = LONGEST_TEXT
    if adapted.get("type") == "object":
        adapted.setdefault("additionalProperties", False)
    return adapted


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

"""What the agents of the benchmark answer: one JSON Schema a role, and its compact form as a grammar for llama.cpp.

All properties are required and stand in the order given, so that the compact JSON of an answer is determined but for
its values. Both grammars describe the texts that our engine may write for the schema, byte for byte.
"""

import json
from typing import Any

from benchmarks.engine.prose import CAUSES, RULES, SERVICES, TOOLS

Schema = dict[str, Any]

_CHARACTER = r"""char ::= [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})"""
"""One character of a JSON string, in GBNF."""


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _one_of(values: tuple[str, ...]) -> Schema:
    return {"type": "string", "enum": list(values)}


def _text(least: int, most: int) -> Schema:
    return {"type": "string", "minLength": least, "maxLength": most}


ROUTER = _object(
    service=_one_of(SERVICES),
    urgency=_one_of(("low", "medium", "high")),
    workers={
        "type": "array",
        "items": _one_of(("logs", "metrics", "deploys", "network")),
        "minItems": 3,
        "maxItems": 3,
    },
)
WORKER = _object(
    service=_one_of(SERVICES),
    healthy={"type": "boolean"},
    cause=_one_of(CAUSES),
    evidence=_text(24, 64),
    call=_object(tool=_one_of(TOOLS), service=_one_of(SERVICES), lines={"type": "string", "enum": ["50", "200"]}),
)
REVIEWER = _object(
    approved={"type": "boolean"},
    rule=_one_of(RULES),
    risk=_one_of(("low", "medium", "high")),
    reason=_text(16, 48),
)


def gbnf(schema: Schema) -> str:
    """The compact JSON of a schema as GBNF, llama.cpp's grammar language.

    It knows what the schemas here use (objects, enums, booleans, bounded strings and arrays) and raises ValueError for
    anything else, since a grammar that ignores a part would not be the same task.
    """
    return f"root ::= {_rule(schema)}\n{_CHARACTER}\n"


def lark(schema: Schema) -> str:
    """The same for llguidance, the library that our engine uses too and that the peer's wheel has built in."""
    return "%llguidance {}\nstart: %json " + json.dumps({**schema, "x-guidance": {"whitespace_flexible": False}})


def _rule(schema: Schema) -> str:
    if "enum" in schema:
        return "(" + " | ".join(_literal(json.dumps(value)) for value in schema["enum"]) + ")"
    match schema.get("type"):
        case "boolean":
            return '("true" | "false")'
        case "string":
            return rf'"\"" char{{{schema["minLength"]},{schema["maxLength"]}}} "\""'
        case "array":
            return _array(_rule(schema["items"]), schema["minItems"], schema["maxItems"])
        case "object":
            fields = schema["properties"].items()
            parts = [
                f"{_literal(('{' if number == 0 else ',') + json.dumps(name) + ':')} {_rule(value)}"
                for number, (name, value) in enumerate(fields)
            ]
            return " ".join([*parts, _literal("}")])
    raise ValueError(f"there is no GBNF here for {schema!r}")


def _array(item: str, least: int, most: int) -> str:
    if not 0 < least <= most:
        raise ValueError("an array has 1 item at least here")
    more = f' ("," {item}){{{least - 1},{most - 1}}}' if most > 1 else ""
    return f'"[" {item}{more} "]"'


def _literal(text: str) -> str:
    """A text in quotes, as GBNF writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

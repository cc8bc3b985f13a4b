"""A tool's arguments as policy sees them: a Cedar type for its JSON Schema, and a Cedar value for each argument.

The rule: an argument stands in `context.args`, exactly, or is named in `context.opaque`. A value that its declared
type cannot carry raises ValueError, which denies the call; nothing is rounded, cut or guessed. Every attribute is
optional, for a call may be judged before a reference in it is filled in; so a policy asks `context.args has name`.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from runtime.gate.call import is_reference
from store.records.canonical import Json

_LONG = 2**63
_DECIMAL_LIMIT = Decimal(_LONG) / 10_000
_SCALARS = {"string": "String", "integer": "Long", "boolean": "Boolean"}
_FIELD = re.compile(r"(?!__)[^\x00-\x1f]{1,200}\Z")  # Cedar reads names that begin with __ as escapes of its own


def record_type(schema: dict[str, Any]) -> Json:
    """The Cedar record type of a JSON Schema object. Properties that Cedar has no type for are left out."""
    attributes = {}
    for name, declared in _properties(schema).items():
        cedar = _type(_not_null(declared)[0])
        if cedar is not None:
            attributes[name] = {**cedar, "required": False}
    return {"type": "Record", "attributes": attributes}


def record_value(schema: dict[str, Any], value: dict[str, Json]) -> tuple[dict[str, Json], tuple[str, ...]]:
    """The Cedar value of an object, and the names of those fields which policy cannot see, or cannot see whole.

    Raises ValueError if a field is not of the type that the schema declares.
    """
    properties = _properties(schema)
    seen: dict[str, Json] = {}
    opaque = set()
    for name, item in value.items():
        declared, nullable = _not_null(properties.get(name, {}))
        if _type(declared) is None or is_reference(item):
            opaque.add(name)
        elif not (nullable and item is None):
            seen[name], whole = _value(declared, item, name)
            if not whole:
                opaque.add(name)
    return seen, tuple(sorted(opaque))


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("properties", {})
    return {name: each for name, each in found.items() if _FIELD.match(name) and isinstance(each, dict)}


def _not_null(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The schema without its null alternative, and whether there was one: that is how optional values are declared."""
    if isinstance(schema.get("type"), list):
        kinds = [kind for kind in schema["type"] if kind != "null"]
        if len(kinds) == 1:
            return {**schema, "type": kinds[0]}, len(schema["type"]) > 1
    choices = schema.get("anyOf")
    if isinstance(choices, list) and len(choices) == 2 and {"type": "null"} in choices:
        other = choices[1] if choices[0] == {"type": "null"} else choices[0]
        return (other if isinstance(other, dict) else {}), True
    return schema, False


def _type(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The Cedar type of a JSON Schema, or None where there is none (unions, free objects, references)."""
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if kind == "number":
        return {"type": "Extension", "name": "decimal"}
    if kind == "array":
        element = _type(schema["items"]) if isinstance(schema.get("items"), dict) else None
        return {"type": "Set", "element": element} if element else None
    if kind == "object" and _properties(schema):
        record: dict[str, Any] = record_type(schema)
        return record
    if kind is None and schema.get("enum") and all(isinstance(each, str) for each in schema["enum"]):
        return {"type": "String"}
    return None


def _value(schema: dict[str, Any], value: Json, where: str) -> tuple[Json, bool]:
    """The Cedar value, and whether it shows the whole JSON value. Raises ValueError."""
    kind = schema.get("type", "string")
    if kind == "array" and isinstance(value, list):
        pairs = [_value(schema["items"], item, where) for item in value]
        return [each for each, _ in pairs], all(whole for _, whole in pairs)
    if kind == "object" and isinstance(value, dict):
        record, opaque = record_value(schema, value)
        return record, not opaque
    if kind == "string" and isinstance(value, str):
        return value, True
    if kind == "boolean" and isinstance(value, bool):
        return value, True
    if kind == "integer" and _whole(value):
        return long(int(value), f"argument {where}"), True
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return _decimal(value, where), True
    raise ValueError(f"argument {where} does not fit its declared type {kind}")


def long(value: int, where: str) -> int:
    """A whole number that Cedar can hold. Raises ValueError for any other, and for what only passes for one."""
    if type(value) is int and -_LONG <= value < _LONG:
        return value
    raise ValueError(f"{where} is no whole number of 64 bits, and policy can compare no other")


def _whole(value: Json) -> bool:
    """JSON Schema counts 3.0 as an integer; a bool is none."""
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _decimal(value: float, where: str) -> Json:
    """A Cedar decimal: at most four places after the point."""
    try:
        exact = Decimal(repr(value))
        fits = exact == exact.quantize(Decimal("0.0001")) and abs(exact) < _DECIMAL_LIMIT
    except InvalidOperation:
        fits = False
    if not fits:
        raise ValueError(f"argument {where} is no decimal of four places, and policy can compare no other")
    return {"__extn": {"fn": "decimal", "arg": f"{exact:.4f}"}}

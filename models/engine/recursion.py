"""Schemas that refer to themselves: whether a value that fits them can end, and can be checked in finite time."""

import urllib.parse
from collections.abc import Iterator
from typing import Any

from models.engine.schema import Schema, kinds
from models.errors import SchemaUnsupported

_IN_PLACE = ("anyOf", "oneOf", "allOf")


def check_recursion(root: Schema) -> None:
    """Raises SchemaUnsupported if a written schema has a reference that leads to itself without anything in between,
    or to what no finite value fits."""
    targets = {reference: _target(root, reference) for reference in set(_references(root))}
    ending: set[str] = set()
    while found := {name for name in targets.keys() - ending if _ends(targets[name], ending)}:
        ending |= found
    if endless := targets.keys() - ending:
        raise _refused(min(endless), "let a value end somewhere")
    if not _ends(root, ending):
        raise SchemaUnsupported("the schema cannot be enforced: nothing fits it", "", "let something be allowed")
    direct = {name: set(_references_in_place(target)) for name, target in targets.items()}
    for name in direct:
        reached: set[str] = set()
        waiting = [name]
        while waiting:
            for follower in direct[waiting.pop()] - reached:
                reached.add(follower)
                waiting.append(follower)
        if name in reached:
            raise _refused(name, "put a property or an item in between")


def _refused(reference: str, do: str) -> SchemaUnsupported:
    return SchemaUnsupported("the schema cannot be enforced: $ref without an end", reference[:200], do)


def _references(value: Any) -> Iterator[str]:
    """All references in a schema, and whatever else looks like one."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _references(each)


def _references_in_place(schema: Any) -> Iterator[str]:
    """The references that restrict the very value that a schema restricts."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        for word in _IN_PLACE:
            for each in schema.get(word, ()):
                yield from _references_in_place(each)


def _target(root: Schema, reference: str) -> Any:
    value: Any = root
    try:
        for part in urllib.parse.unquote(reference[1:]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            value = value[int(name)] if isinstance(value, list) else value[name]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise SchemaUnsupported("the schema cannot be enforced: $ref", reference[:200], "refer to a schema") from error
    return value


def _ends(schema: Any, ending: set[str]) -> bool:
    """Whether a finite value can fit, if only the references in `ending` lead to what can end."""
    if not isinstance(schema, dict):
        return schema is not False
    if "$ref" in schema and schema["$ref"] not in ending:
        return False
    if not all(_ends(each, ending) for each in schema.get("allOf", ())):
        return False
    for word in ("anyOf", "oneOf"):
        if word in schema and not any(_ends(each, ending) for each in schema[word]):
            return False
    if {"const", "enum", "$ref", *_IN_PLACE} & schema.keys():
        return True
    return bool(kinds(schema) - {"object", "array"}) or any(
        kind in kinds(schema) and all(_ends(each, ending) for each in parts)
        for kind, parts in (("object", _required(schema)), ("array", _first(schema)))
    )


def _required(schema: Schema) -> list[Any]:
    rest = schema.get("additionalProperties", True)
    return [schema.get("properties", {}).get(name, rest) for name in schema.get("required", ())]


def _first(schema: Schema) -> list[Any]:
    least = int(schema.get("minItems", 0))
    first = schema.get("prefixItems", [])[:least]
    return [*first, schema.get("items", True)] if len(first) < least else first

"""The form of a value that a plan speaks of before there is any: as much of a JSON Schema as says what it may be.

A schema is a promise of whoever wrote it. Whether a value keeps it is checked when there is one.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from store.records.canonical import Json

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
"""Names that a plan can speak of. A tool server chooses its own: what could be more than a name is left out."""
KINDS = frozenset(("string", "integer", "number", "boolean", "array", "object", "null"))
DEEPEST = 8
"""References to references, and options within options, that are followed."""


@dataclass(frozen=True)
class Form:
    """What a JSON Schema says of a value. `root` is the schema that its references lead into."""

    schema: dict[str, Any] = field(default_factory=dict)
    root: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: dict[str, Any] | None) -> "Form":
        """The form of a whole schema; without one, that of anything."""
        return cls(schema or {}, schema or {})

    @classmethod
    def list_of(cls, items: "Form") -> "Form":
        """The form of a list of such values."""
        return cls({"type": "array", "items": items.schema}, items.root)

    @classmethod
    def like(cls, value: Json) -> "Form":
        """The form of a value as far as its JSON type goes."""
        return cls({"type": _kind(value)})

    @property
    def kinds(self) -> frozenset[str]:
        """The JSON types that it may have: all of them, if nothing is said."""
        return self._kinds(self.schema, DEEPEST)

    @property
    def is_list(self) -> bool:
        """Whether it is a list, and nothing else but null."""
        return self.kinds - {"null"} == {"array"}

    def fields(self) -> dict[str, "Form"]:
        """The fields of an object that the schema names, and plainly."""
        found = self._resolved(self.schema).get("properties")
        known = found if isinstance(found, dict) else {}
        return {
            name: Form(each, self.root) for name, each in known.items() if isinstance(each, dict) and PLAIN.match(name)
        }

    def items(self) -> "Form":
        """The form of a list's items."""
        found = self._resolved(self.schema).get("items")
        return Form(found if isinstance(found, dict) else {}, self.root)

    def may_be(self, wanted: "Form") -> bool:
        """Whether a value of this form may be one of the form `wanted`; a fraction is taken for no whole number."""
        allowed = wanted.kinds | ({"integer"} if "number" in wanted.kinds else frozenset())
        return not self.kinds.isdisjoint(allowed)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        for _ in range(DEEPEST):
            parts = str(schema.get("$ref", "")).split("/")
            if len(parts) != 3 or parts[0] != "#":
                return schema
            found = self.root.get(parts[1], {}).get(parts[2])
            schema = found if isinstance(found, dict) else {}
        return {}

    def _kinds(self, schema: dict[str, Any], depth: int) -> frozenset[str]:
        schema = self._resolved(schema)
        if "const" in schema or "enum" in schema:
            return frozenset(_kind(value) for value in schema.get("enum", [schema.get("const")]))
        options = schema.get("anyOf", schema.get("oneOf"))
        if isinstance(options, list) and depth:
            parts = [self._kinds(each, depth - 1) for each in options if isinstance(each, dict)]
            return frozenset().union(*parts)
        named = schema.get("type", "object" if "properties" in schema else None)
        if named is None:
            return KINDS
        return frozenset([named] if isinstance(named, str) else named) & KINDS


def _kind(value: Json) -> str:
    """The JSON type of a value."""
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", tuple: "array"}
    return "null" if value is None else kinds.get(type(value), "object")

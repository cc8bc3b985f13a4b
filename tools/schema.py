"""JSON Schema checks of arguments and results.

Schemas come from tool servers: nothing that they refer to is ever fetched.
"""

from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from store.records.canonical import Json


class Checker:
    """One schema, compiled. Raises ValueError if it is not a JSON Schema (draft 2020-12)."""

    def __init__(self, schema: dict[str, Any]) -> None:
        try:
            Draft202012Validator.check_schema(schema)
        except (SchemaError, RecursionError):
            raise ValueError("not a JSON Schema") from None
        # An explicit registry: the default one would fetch a remote $ref over the network.
        self._validator = Draft202012Validator(schema, registry=EMPTY_REGISTRY)

    def problem(self, value: Json) -> str:
        """What is wrong with `value`, in a few words that hold nothing of the value itself; empty if it fits."""
        try:
            error = best_match(self._validator.iter_errors(value))
        except (Unresolvable, RecursionError):
            return "its schema refers to what is not in it"
        if error is None:
            return ""
        place = ".".join(map(str, error.absolute_path)) or "the whole"
        return f"{place} breaks the rule {error.validator}{_rule(error.validator, error.validator_value)}"


def _rule(keyword: str, value: Json) -> str:
    """The short rules in words: they come from the schema, which the model has seen, not from the value."""
    if keyword in ("enum", "type", "required", "maxLength", "minLength", "maximum", "minimum", "const"):
        text = str(value)
        return f" {text}" if len(text) <= 120 else ""
    return ""

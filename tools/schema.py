"""JSON Schema checks of arguments and results.

Schemas come from tool servers: nothing that they refer to is ever fetched, and neither schema nor value decides how
long a check takes. What cannot be checked within bounds does not fit. Patterns are matched without backtracking
(tools.patterns); every rule looks at the clock before it is applied, for references that branch at each level apply
2^n of them; and no single rule takes more than linear time.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from store.records.canonical import Json, canonical
from tools.patterns import Unmatchable, pattern

MAX_SCHEMA_CHARACTERS = 128 * 1024
LIMIT_S = 4.0
"""CPU time of one check. A result of the largest size, against a schema that means well, takes half a second."""
MOST_WORK = 200_000_000
"""States of a pattern times characters of a text in one match: about two seconds at the very worst."""
MOST_UNEVALUATED = 1_000
"""Members of an object or array under an `unevaluated` rule, which jsonschema checks in quadratic time."""

_until: ContextVar[float] = ContextVar("_until")
Errors = Iterator[ValidationError]


class TooLong(Exception):
    """A check takes more time than it may."""


def _found(source: str, text: str) -> bool:
    """Whether a pattern matches in a text. Raises Unmatchable, TooLong."""
    known = pattern(source)
    if known.states * len(text) > MOST_WORK:
        raise TooLong
    return known.found_in(text)


def _pattern(validator: Any, source: str, value: Json, _schema: Any) -> Errors:
    if validator.is_type(value, "string") and not _found(source, value):
        yield ValidationError("does not match")


def _pattern_properties(validator: Any, rules: dict[str, Any], value: Json, _schema: Any) -> Errors:
    if validator.is_type(value, "object"):
        for source, rule in rules.items():
            for name, item in value.items():
                if _found(source, name):
                    yield from validator.descend(item, rule, path=name, schema_path=source)


def _additional_properties(validator: Any, rule: Any, value: Json, schema: dict[str, Any]) -> Errors:
    if not validator.is_type(value, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, item in value.items():
        if name not in named and not any(_found(source, name) for source in patterns):
            if rule is False:
                yield ValidationError("additional")
                return
            else:
                yield from validator.descend(item, rule, path=name)


def _unique(validator: Any, unique: bool, value: Json, _schema: Any) -> Errors:
    """In linear time, where jsonschema compares every two: RFC 8785 writes alike what is equal."""
    if unique and validator.is_type(value, "array") and len({canonical(item) for item in value}) < len(value):
        yield ValidationError("not unique")


def _timed(apply: Callable[..., Any]) -> Callable[..., Any]:
    def rule(validator: Any, wanted: Any, value: Json, schema: Any) -> Any:
        if time.thread_time() > _until.get():
            raise TooLong
        return apply(validator, wanted, value, schema)

    return rule


def _small(apply: Callable[..., Any]) -> Callable[..., Any]:
    def rule(validator: Any, wanted: Any, value: Json, schema: Any) -> Any:
        if isinstance(value, dict | list) and len(value) > MOST_UNEVALUATED:
            raise TooLong
        return apply(validator, wanted, value, schema)

    return rule


_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")
_RULES: dict[str, Callable[..., Any]] = {
    **Draft202012Validator.VALIDATORS,
    **{word: _small(Draft202012Validator.VALIDATORS[word]) for word in _UNEVALUATED},
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique,
}
_TIMED = {word: _timed(each) for word, each in _RULES.items()}
_Bounded = extend(Draft202012Validator, _TIMED)  # type: ignore[no-untyped-call]  # its stub has no types


class Checker:
    """One schema, compiled. Raises ValueError if it is not a JSON Schema (draft 2020-12), or one too large."""

    def __init__(self, schema: dict[str, Any]) -> None:
        try:
            text = json.dumps(schema)
            if len(text) > MAX_SCHEMA_CHARACTERS:
                raise ValueError("the JSON Schema is too large")
            if '"patternProperties"' in text and '"unevaluatedProperties"' in text:
                # jsonschema, to tell what was evaluated, would match the patterns with backtracking.
                raise ValueError("the JSON Schema has patternProperties and unevaluatedProperties")
            # No formats: the one called `regex` would compile patterns with `re`, whose dialect is not ours.
            Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
        except (SchemaError, RecursionError, TypeError):
            raise ValueError("not a JSON Schema") from None
        # An explicit registry: the default one would fetch a remote $ref over the network.
        self._validator = _Bounded(schema, registry=EMPTY_REGISTRY)

    def problem(self, value: Json) -> str:
        """What is wrong with `value`, in a few words that hold nothing of the value itself; empty if it fits."""
        _until.set(time.thread_time() + LIMIT_S)
        try:
            error = best_match(self._validator.iter_errors(value))
        except (Unresolvable, RecursionError):
            return "its schema refers to what is not in it"
        except TooLong:
            return "its schema takes too long to check"
        except Unmatchable as reason:
            return f"its schema has a pattern that is {reason}"
        except ValueError:  # of RFC 8785, whose message quotes the value
            return "it is not JSON that can be recorded"
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

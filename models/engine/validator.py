"""Checks finished answers against what was asked for, independently of what enforced it.

JSON Schema is checked by jsonschema, with words of our own where its own would be wrong (a step of 0.1), absent (most
formats) or dangerous: patterns come from untrusted tool servers, and Python's `re` can take exponential time. Nothing
is fetched. Errors name words of the schema and never quote the answer.
"""

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import jsonschema
from jsonschema.protocols import Validator
from referencing import Registry

from models.engine.formats import FORMATS
from models.engine.pattern import Pattern
from models.engine.schema import Schema
from models.errors import SchemaUnsupported
from store.records.canonical import canonical
from store.records.errors import ModelFailed

_Errors = Iterator[jsonschema.ValidationError]


class SchemaCheck:
    """The check of one JSON Schema. Not to be used by two threads at once."""

    def __init__(self, schema: Schema) -> None:
        """Raises SchemaUnsupported if this is not a JSON Schema."""
        kind: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            # Without formats: one of them compiles the patterns, in Python's dialect.
            kind.check_schema(schema, format_checker=jsonschema.FormatChecker(()))
        except jsonschema.SchemaError as error:
            place = "/".join(str(part) for part in error.absolute_path)
            raise SchemaUnsupported("this is not a JSON Schema", place[:200], "correct it") from error
        except RecursionError as error:
            raise SchemaUnsupported("the schema is nested too deeply") from error
        self._validator: Validator = _kind(kind)(schema, registry=Registry())

    def check(self, text: str) -> None:
        """Raises ModelFailed unless `text` is a JSON value that fits and that the ledger can carry."""
        self.check_value(read(text))

    def check_value(self, value: Any) -> None:
        """The same for a value."""
        try:
            misfit = next(iter(self._validator.iter_errors(value)), None)
        except RecursionError as error:
            raise ModelFailed(
                "the model's answer is nested too deeply to be checked", "", "bound the schema"
            ) from error
        if misfit is not None:
            place = "/".join(str(part)[:40] for part in list(misfit.absolute_schema_path)[:12])
            raise ModelFailed(f"the model's answer does not fit the schema's {misfit.validator}", place)


class CallsCheck:
    """The check of tool calls: one, or with `several` an array of one or more."""

    def __init__(self, tools: Mapping[str, Schema], *, several: bool) -> None:
        """`tools` holds the JSON Schema of the arguments of each tool, by name."""
        self._tools = {name: SchemaCheck(schema) for name, schema in tools.items()}
        self._several = several

    def check(self, text: str) -> None:
        """Raises ModelFailed unless `text` is a call of a known tool with arguments that fit."""
        value = read(text)
        calls = value if self._several else [value]
        if not isinstance(calls, list) or not calls:
            raise ModelFailed("the model's answer is no array of tool calls")
        for call in calls:
            if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
                raise ModelFailed("the model's answer is no tool call")
            name, arguments = call["name"], call["arguments"]
            if not isinstance(name, str) or name not in self._tools or not isinstance(arguments, dict):
                raise ModelFailed("the model's answer is no call of a tool that was given")
            self._tools[name].check_value(arguments)


class RegexCheck:
    """The check of a regular expression, which all of an answer must match. Not to be used by two threads at once."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern

    def check(self, text: str) -> None:
        """Raises ModelFailed unless the expression fits the whole text."""
        if not self._pattern.matches(text):
            raise ModelFailed("the model's answer does not match the regular expression")


class ChoiceCheck:
    """The check of a list of choices."""

    def __init__(self, choices: frozenset[str]) -> None:
        self._choices = choices

    def check(self, text: str) -> None:
        """Raises ModelFailed unless `text` is one of the choices."""
        if text not in self._choices:
            raise ModelFailed("the model's answer is none of the choices")


def read(text: str) -> Any:
    """The JSON value of a text. Raises ModelFailed if it is none, or none that the ledger can carry."""
    try:
        value = json.loads(text)
        canonical(value)
    except (ValueError, RecursionError) as error:
        raise ModelFailed("the model's answer is not JSON that can be recorded", "", "bound the schema") from error
    return value


def _kind(kind: Any) -> Any:
    """A class of validators with our own words. It keeps the patterns of one schema, read once."""
    patterns: dict[str, Pattern] = {}

    def found(pattern: str, text: str) -> bool:
        if pattern not in patterns:
            patterns[pattern] = Pattern(pattern, anywhere=True)
        return patterns[pattern].matches(text)

    def check_pattern(_: Any, pattern: str, value: Any, __: Any) -> _Errors:
        if isinstance(value, str) and not found(pattern, value):
            yield jsonschema.ValidationError("does not match")

    def check_named(validator: Any, schemas: Mapping[str, Any], value: Any, _: Any) -> _Errors:
        for pattern, schema in schemas.items() if isinstance(value, dict) else ():
            for name in filter(lambda name: found(pattern, name), value):
                yield from validator.descend(value[name], schema, path=name, schema_path=pattern)

    def check_rest(validator: Any, schema: Any, value: Any, whole: Mapping[str, Any]) -> _Errors:
        known, named = whole.get("properties", {}), whole.get("patternProperties", {})
        for name in value if isinstance(value, dict) else ():
            if name in known or any(found(pattern, name) for pattern in named):
                continue
            if schema is False:
                yield jsonschema.ValidationError("is not allowed")
            else:
                yield from validator.descend(value[name], schema, path=name)

    words = {"pattern": check_pattern, "patternProperties": check_named, "additionalProperties": check_rest}
    extend: Any = jsonschema.validators.extend
    return extend(kind, {**words, "multipleOf": _check_step, "format": _check_format})


def _check_step(_: Any, step: int | float, value: Any, __: Any) -> _Errors:
    # In decimal, as both were written: 1.9 is a multiple of 0.1, which no division of floats says.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and (Fraction(repr(value)) / Fraction(repr(step))).denominator != 1:
        yield jsonschema.ValidationError("is no multiple")


def _check_format(_: Any, name: str, value: Any, __: Any) -> _Errors:
    if isinstance(value, str) and name in FORMATS and not FORMATS[name].fits(value):
        yield jsonschema.ValidationError("has another format")

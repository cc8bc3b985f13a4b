"""Checks against schemas that others wrote: right, and over in bounded time whatever the schema says."""

from typing import Any

import pytest

from tools.patterns import LONGEST, Unmatchable, pattern
from tools.schema import MAX_SCHEMA_CHARACTERS, Checker

ENDLESS = "a" * 100_000 + "!"
"""On this, each of the patterns below takes a backtracking matcher longer than anybody waits."""


@pytest.mark.parametrize("source", ["(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(a*)*b", "^([a-z]+)*$", "(.*a){20}b"])
def test_a_pattern_takes_linear_time(source: str) -> None:
    assert not pattern(source).found_in(ENDLESS)
    name_rule: dict[str, Any] = {"patternProperties": {source: {}}, "additionalProperties": False}
    assert Checker({"pattern": source}).problem(ENDLESS) == "the whole breaks the rule pattern"
    assert "additionalProperties" in Checker(name_rule).problem({ENDLESS: 1})
    assert Checker({"propertyNames": {"pattern": source}}).problem({ENDLESS: 1})


@pytest.mark.parametrize(
    "source",
    [
        "(?=x)",
        "(?!x)y",
        "(?<=x)y",
        r"(a)\1",
        "(?x)a #[",
        "(?i)a",
        "(",
        ")",
        "[",
        "a{9",
        "((a{100}){100}){10}",
        "x" * 10_001,
    ],
)
def test_what_cannot_be_bounded_is_refused_when_it_is_needed_and_not_before(source: str) -> None:
    with pytest.raises(Unmatchable):
        pattern(source)
    checker = Checker({"properties": {"text": {"pattern": source}}})
    assert checker.problem({}) == ""
    assert checker.problem({"text": "x"}).startswith("its schema has a pattern that is ")


@pytest.mark.parametrize(
    ("source", "fits", "misfits"),
    [
        ("b", "abc", "a"),
        ("^a$", "a", "a\n"),
        (r"^\w+$", "a_9", "é"),
        (r"^[\w.-]{1,255}$", "a-b.c", "a b"),
        (r"^\d$", "7", "\u0667"),
        (r"^[\W]$", "é", "e"),
        (r"^[^\W]$", "e", "é"),
        (r"^\D\W$", "x!", "1!"),
        (r"^\/\u0041$", "/A", "/B"),
        ("^[]a]$", "]", "b"),
        ("^(?:a|b){2}(?<name>c)$", "abc", "ac"),
        (r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "00000000-0000-0000-0000-00000000000a", "0-0-0-0-0"),
        ("^.$", "\U0001f600", "\ud83d"),
    ],
)
def test_a_pattern_means_what_json_schema_says(source: str, fits: str, misfits: str) -> None:
    assert pattern(source).found_in(fits)
    assert not pattern(source).found_in(misfits)


def test_a_pattern_has_a_largest_size() -> None:
    assert pattern("x" * LONGEST).found_in("x" * LONGEST)
    with pytest.raises(Unmatchable, match="too large"):
        pattern("x" * (LONGEST + 1))


def test_pattern_properties_and_additional_properties_divide_the_names() -> None:
    rules: dict[str, Any] = {
        "properties": {"id": {"type": "integer"}},
        "patternProperties": {"^x-": {"type": "string"}},
        "additionalProperties": {"type": "boolean"},
    }
    checker = Checker(rules)
    assert checker.problem({"id": 1, "x-a": "b", "more": True}) == ""
    assert checker.problem({"x-a": 1}) == "x-a breaks the rule type string"
    assert checker.problem({"more": 1}) == "more breaks the rule type boolean"
    assert "additionalProperties" in Checker({**rules, "additionalProperties": False}).problem({"more": 1})


def test_references_that_branch_at_every_level_end_soon() -> None:
    levels: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    checker = Checker({"$ref": "#/$defs/d0", "$defs": {**levels, "d60": {"type": "object"}}})
    assert checker.problem({}) == "its schema takes too long to check"


def test_unique_items_are_told_apart_as_json_tells_them() -> None:
    checker = Checker({"uniqueItems": True})
    assert checker.problem([1, True, "1", [1], {"a": 1}, {"a": 2}]) == ""
    assert checker.problem([{"a": number} for number in range(20_000)]) == ""
    assert checker.problem([1, 1.0]) == "the whole breaks the rule uniqueItems"
    assert checker.problem([{"a": 1, "b": 2}, {"b": 2, "a": 1}]) == "the whole breaks the rule uniqueItems"
    assert checker.problem([float("nan")]) == "it is not JSON that can be recorded"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"pattern": 7},
        {"description": "x" * MAX_SCHEMA_CHARACTERS},
        {"patternProperties": {"a": {"unevaluatedProperties": False}}},
        {"const": {1, 2}},
    ],
)
def test_what_is_no_usable_schema_is_refused(schema: Any) -> None:
    with pytest.raises(ValueError, match="JSON Schema"):
        Checker(schema)


def test_unevaluated_properties_are_found_in_small_objects_and_refused_in_large_ones() -> None:
    checker = Checker({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False})
    assert checker.problem({"a": 1}) == ""
    assert "unevaluatedProperties" in checker.problem({"b": 1})
    assert checker.problem({str(n): n for n in range(2_000)}) == "its schema takes too long to check"

"""Schemas: what can be enforced is, what cannot is refused by name, and nothing is fetched."""

from typing import Any

import pytest

from models.engine.engine import Engine
from models.engine.grammar import KEPT, Grammars
from models.errors import SchemaUnsupported
from store.records.errors import ModelFailed


@pytest.fixture(scope="module")
def grammars(chat: Engine) -> Grammars:
    return Grammars(chat._runner.grammar_tokens())


def record(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "contains": {"type": "null"}}, "contains"),
        ({"not": {"type": "string"}}, "not"),
        ({"if": {"type": "string"}, "then": {"minLength": 2}}, "then"),
        ({"type": "object", "propertyNames": {"pattern": "^a"}}, "propertyNames"),
        ({"oneOf": [{"type": "string"}, {"maxLength": 3}]}, "oneOf"),
        (record(a={"type": "string", "pattern": "^(?=a)b"}), "look-around"),
        (record(a={"type": "string", "pattern": r"(a)\1"}), "backreferences"),
        (record(a={"type": "string", "format": "phone-of-mars"}), "phone-of-mars"),
        ({"$ref": "https://example.org/schema"}, "not present in a registry"),
        ({"$ref": "#/$defs/absent"}, "does not exist"),
        ({"type": "integer", "minimum": 5, "maximum": 2}, "Unsatisfiable"),
        ({"type": "wish"}, "not a JSON Schema"),
        ({"type": "string", "maxLength": -1}, "not a JSON Schema"),
        ({"a": object()}, "not JSON"),
        ({"const": float("nan")}, "not JSON"),
        ({"description": "x" * 300_000}, "characters"),
    ],
)
def test_what_cannot_be_enforced_is_named(grammars: Grammars, schema: dict[str, Any], named: str) -> None:
    with pytest.raises(SchemaUnsupported, match=named) as caught:
        grammars.get(schema)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def test_endless_nesting_is_refused(grammars: Grammars) -> None:
    assert grammars.get(nested(20)).matcher().accept(grammars._tokens.tokenize_str("[")[0])
    for depth in (950, 100_000):
        with pytest.raises(SchemaUnsupported):
            grammars.get(nested(depth))


def test_a_schema_cannot_loosen_its_own_grammar(grammars: Grammars) -> None:
    schema = {**record(a={"const": 1}), "x-guidance": {"whitespace_flexible": True}}
    forced = grammars.get(schema).matcher().forced(100)
    assert grammars._tokens.decode_str(forced) == '{"a":1}'


def test_the_order_of_properties_is_part_of_the_grammar(grammars: Grammars) -> None:
    one, other = (
        grammars.get(record(a={"const": 1}, b={"const": 2})),
        grammars.get(record(b={"const": 2}, a={"const": 1})),
    )
    assert one.digest != other.digest
    assert grammars.get(record(a={"const": 1}, b={"const": 2})) is one


def test_only_the_last_schemas_are_kept(grammars: Grammars) -> None:
    first = grammars.get({"const": "first"})
    for number in range(KEPT):
        grammars.get({"const": number})
    assert grammars.get({"const": "first"}) is not first
    assert len(grammars._kept) == KEPT


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a": "é"}x', '{"a":"toolong"}', '{"a":1}', '{"a":"\\ud800"}', "NaN", '{"a":"x","b":1}', "9" * 5000],
)
def test_an_answer_that_does_not_fit_is_refused_without_quoting_it(grammars: Grammars, text: str) -> None:
    grammar = grammars.get(record(a={"type": "string", "maxLength": 3}))
    grammar.check('{"a":"ok"}')
    with pytest.raises(ModelFailed) as caught:
        grammar.check(text)
    assert "toolong" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_matchers_of_one_grammar_are_independent(grammars: Grammars) -> None:
    grammar = grammars.get({"enum": ["yes", "no"]})
    one, other = grammar.matcher(), grammar.matcher()
    while not one.done:
        allowed = one.allowed().nonzero()[0]
        assert not one.accept(int((~one.allowed()).nonzero()[0][0]))
        assert one.accept(int(allowed[0]))
    assert not other.done

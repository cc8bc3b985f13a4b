"""Schemas for decoding: narrower than what they were made from, never wider, and with an end to everything."""

from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from llguidance import LLTokenizer
from pydantic import BaseModel, Field

from models.engine.grammar import Grammars
from runtime.agents.call_schema import LONGEST_LIST, LONGEST_TEXT, answer_schema, call_schema
from runtime.agents.proposal import ToolView


class Cat(BaseModel):
    """One of two kinds."""

    kind: Literal["cat"]
    title: str


class Dog(BaseModel):
    """The other."""

    kind: Literal["dog"]
    friends: list["Dog"]


class Answer(BaseModel):
    """What pydantic has special words for."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    notes: list[str] = Field(default=["a"], min_length=1)
    scores: dict[str, int] = {}
    code: str = Field(default="x", pattern="^[a-z]{1,3}$")
    nothing: str | None = None


GOOD: dict[str, Any] = {"pet": {"kind": "cat", "title": "Tom"}, "notes": ["n"], "scores": {"a": 1}, "code": "ab"}


@pytest.fixture(scope="module")
def fits() -> Draft202012Validator:
    """The adapted schema of an Answer."""
    return Draft202012Validator(answer_schema(Answer.model_json_schema()))


def test_a_typed_answer_can_be_decoded(fits: Draft202012Validator) -> None:
    Grammars(LLTokenizer("byte")).get(answer_schema(Answer.model_json_schema()))
    assert fits.is_valid(GOOD)
    Answer.model_validate(GOOD)
    assert fits.is_valid(GOOD | {"pet": {"kind": "dog", "friends": [{"kind": "dog", "friends": []}]}, "nothing": None})


@pytest.mark.parametrize(
    "more",
    [
        {"made_up": 1},
        {"notes": ["n"] * (LONGEST_LIST + 1)},
        {"notes": ["n" * (LONGEST_TEXT + 1)]},
        {"notes": []},
        {"scores": {str(n): n for n in range(LONGEST_LIST + 1)}},
        {"nothing": "n" * (LONGEST_TEXT + 1)},
        {"pet": {"kind": "cat", "title": "Tom", "friends": []}},
        {"pet": {"kind": "dog", "title": "Tom"}},
        {"code": "abcd"},
    ],
)
def test_what_is_open_has_an_end(fits: Draft202012Validator, more: dict[str, Any]) -> None:
    assert not fits.is_valid(GOOD | more)


def test_limits_of_the_schemas_own_are_kept() -> None:
    made = answer_schema(
        {
            "type": "object",
            "properties": {
                "long": {"type": "string", "minLength": LONGEST_TEXT + 5},
                "short": {"type": "string", "maxLength": 3},
                "many": {"type": "array", "minItems": LONGEST_LIST + 5, "items": {"type": "integer"}},
                "some": {"type": "array", "maxItems": 40},
            },
            "additionalProperties": {"type": "integer"},
        }
    )
    assert made["properties"]["long"]["maxLength"] == LONGEST_TEXT + 5
    assert made["properties"]["short"]["maxLength"] == 3
    assert made["properties"]["many"]["maxItems"] == LONGEST_LIST + 5
    assert made["properties"]["some"]["maxItems"] == 40
    assert made["maxProperties"] == LONGEST_LIST


def test_values_are_no_schemas() -> None:
    constant = {"type": "object", "title": "kept", "default": 1}
    made = answer_schema({"properties": {"a": {"const": constant}, "b": {"enum": [constant, 2]}}})
    assert made == {"properties": {"a": {"const": constant}, "b": {"enum": [constant, 2]}}}


@pytest.mark.parametrize("word", ["$defs", "definitions"])
def test_definitions_of_older_drafts_are_found_too(word: str) -> None:
    schema = {
        "type": "object",
        "properties": {"parts": {"type": "array", "items": {"$ref": f"#/{word}/Part"}}},
        "required": ["parts"],
        word: {"Part": {"type": "integer"}},
    }
    tools = (ToolView("a.x", "", {"type": "object"}, False), ToolView("b.y", "", schema, True))
    for made, wrap in (
        (answer_schema(schema), lambda arguments: arguments),
        (call_schema(tools, may_end=False), lambda arguments: {"tool": "b.y", "arguments": arguments}),
    ):
        Grammars(LLTokenizer("byte")).get(made)
        assert Draft202012Validator(made).is_valid(wrap({"parts": [1]}))
        assert not Draft202012Validator(made).is_valid(wrap({"parts": ["1"]}))

"""Requests: every field is checked before a model sees it, and what is wrong is named in one line."""

import math
from typing import Any

import pytest

from models.engine.admission import LONGEST_CHOICES, LONGEST_REGEX, MOST_STOPS, MOST_TOOLS, admit, admit_tokens
from models.request import Message, Request, ToolSpec
from store.records.errors import SettingsError

HALF = "\ud83d"
TOOL = ToolSpec("ops.restart-1", "restarts", {"type": "object"})


def request(**fields: Any) -> Request:
    return Request(**{"messages": (Message("user", "hello"),), **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.1, "seed": 2**64 - 1},
        {"logit_bias": ((0, -100.0), (7, 2))},
        {"stop": ("\n\n", "<END>")},
        {"schema": {"type": "string"}, "logprobs": True},
        {"regex": r"\d+"},
        {"choices": ("yes", "no")},
        {"tools": (TOOL,), "stop": ("x",)},
        {"tools": (TOOL,), "tool_choice": "required", "parallel_calls": True},
        {"priority": -3, "space": "tenant/label é"},
    ],
)
def test_what_can_be_served_is_admitted(fields: dict[str, Any]) -> None:
    admit(request(**fields))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": ()}, "no message"),
        ({"messages": (Message("user", HALF),)}, "message 0 .*surrogate"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_prompt_tokens": -1}, "max_prompt_tokens"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"deadline_s": 10**400}, "deadline_s"),
        ({"seed": -1}, "seed"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_p": 0}, "top_p must be above 0"),
        ({"top_p": 1.01}, "top_p"),
        ({"top_p": math.nan}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": math.nan}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": math.nan}, "repetition_penalty"),
        ({"repetition_penalty": "2"}, "repetition_penalty"),
        ({"logit_bias": {1: 2.0}}, "logit_bias must be a tuple"),
        ({"logit_bias": (5,)}, "not a pair"),
        ({"logit_bias": ((-1, 2.0),)}, "token of logit_bias"),
        ({"logit_bias": ((1, math.nan),)}, "number of logit_bias"),
        ({"logit_bias": ((1, 101),)}, "number of logit_bias"),
        ({"logit_bias": ((1, 1), (1, 2))}, "twice"),
        ({"logit_bias": tuple((n, 1) for n in range(2000))}, "logit_bias must be a tuple of up to"),
        ({"stop": "end"}, "stop must be a tuple"),
        ({"stop": ("",)}, "stop text 0 is empty"),
        ({"stop": (HALF,)}, "stop text 0 .*surrogate"),
        ({"stop": (5,)}, "stop text 0 is not a text"),
        ({"stop": ("x" * 257,)}, "stop text 0 has 257"),
        ({"stop": tuple(map(str, range(MOST_STOPS + 1)))}, "stop must be a tuple of up to"),
        ({"schema": []}, "schema must be an object"),
        ({"regex": "x" * (LONGEST_REGEX + 1)}, "the regex has"),
        ({"regex": HALF}, "the regex .*surrogate"),
        ({"choices": ["a"]}, "choices must be a tuple"),
        ({"choices": ("a", "")}, "choice is empty"),
        ({"choices": ("a", "b", "a")}, "twice"),
        ({"choices": (HALF,)}, "choices 0 .*surrogate"),
        ({"choices": ("x" * (LONGEST_CHOICES + 1),)}, "characters"),
        ({"choices": tuple(map(str, range(5000)))}, "choices can be given"),
        ({"tool_choice": "required"}, "no tool"),
        ({"tool_choice": "none", "tools": (TOOL,)}, "auto or required"),
        ({"tools": [TOOL]}, "tools must be a tuple"),
        ({"tools": (TOOL,) * (MOST_TOOLS + 1)}, "tools must be a tuple of up to"),
        ({"tools": ("ops",)}, "tool 0 is not a ToolSpec"),
        ({"tools": (TOOL, TOOL)}, "same name"),
        ({"tools": (ToolSpec("", "", {}),)}, "name of tool 0"),
        ({"tools": (ToolSpec("a b", "", {}),)}, "name of tool 0"),
        ({"tools": (ToolSpec("a\n", "", {}),)}, "name of tool 0"),
        ({"tools": (ToolSpec("é", "", {}),)}, "name of tool 0"),
        ({"tools": (ToolSpec("x" * 65, "", {}),)}, "name of tool 0"),
        ({"tools": (ToolSpec("a", HALF, {}),)}, "description of tool 0"),
        ({"tools": (ToolSpec("a", "", True),)}, "parameters of tool 0"),  # type: ignore[arg-type]
        ({"schema": {}, "regex": "a"}, "both schema and regex"),
        ({"regex": "a", "choices": ("a",)}, "both regex and choices"),
        ({"schema": {}, "tools": (TOOL,)}, "both schema and tools"),
        ({"schema": {}, "stop": ("a",)}, "stop text would cut"),
        ({"tools": (TOOL,), "tool_choice": "required", "stop": ("a",)}, "stop text would cut"),
        ({"parallel_calls": 1}, "parallel_calls"),
        ({"logprobs": 1}, "logprobs"),
        ({"priority": 1.5}, "priority"),
        ({"priority": 1001}, "priority"),
        ({"space": None}, "space is not a text"),
        ({"space": HALF}, "space .*surrogate"),
        ({"space": "x" * 1025}, "space has"),
    ],
)
def test_what_cannot_be_served_is_named_in_one_line(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        admit(request(**fields))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_bias_for_a_token_that_the_model_lacks_is_refused() -> None:
    admit_tokens(request(logit_bias=((9, 1.0),)), 10)
    with pytest.raises(SettingsError, match="token 10, and the model has tokens 0 to 9"):
        admit_tokens(request(logit_bias=((9, 1.0), (10, 1.0))), 10)

"""Tool calls out of text: every family's form there and back, and nothing lost of what is no call."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.engine import call_json
from models.engine.engine import Engine
from models.engine.prompt import Prompt
from models.engine.sandbox import Arguments
from models.engine.template import Template
from models.engine.tool_calls import Parsed, parse
from models.engine.vocabulary import Vocabulary
from models.request import Message, ToolSpec, ToolUse

TOOLS = [
    ToolSpec(
        "get_weather",
        "The weather of a city",
        {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    ),
    ToolSpec("get", "Anything", {"type": "object"}),
]
RAIN = ToolUse("get_weather", {"city": "Ulm"})
CALL = '{"name": "get_weather", "arguments": {"city": "Ulm"}}'
FAMILIES = sorted(path.stem for path in (Path(__file__).parent / "templates").glob("*.jinja"))
WITHOUT_TEXT = {"llama", "mistral"}
"""Families whose turn is either text or calls."""


def source_of(family: str) -> str:
    return (Path(__file__).parent / "templates" / f"{family}.jinja").read_text()


@cache
def template_of(family: str) -> Template:
    return Template(source_of(family))


def turn_of(template: Template, text: str, calls: list[ToolUse]) -> str:
    """The assistant's turn as the template writes it, without the turn's own marks."""
    functions = [{"name": call.name, "arguments": Arguments(call.arguments)} for call in calls]
    wishes = [{"id": "call00000", "type": "function", "function": each} for each in functions]
    written = template.render({"messages": [{"role": "assistant", "content": text, "tool_calls": wishes}]})
    return written.strip().removeprefix("<|im_start|>assistant\n").removesuffix("<|im_end|>")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_talk_with_tools_is_written_and_its_calls_are_read_back(chat: Engine, family: str) -> None:
    runner = chat._runner
    prompt = Prompt(source_of(family), runner.vocabulary, lambda text: runner.tokenize(text, controls=True))
    calls = (ToolUse("get_weather", {"city": 'Köln, "d"\n<|im_end|>', "days": 2}), ToolUse("get", {}))
    text = "" if family in WITHOUT_TEXT else "I look."
    talk = [
        Message("user", "And?"),
        Message("assistant", text, calls),
        Message("tool", "It rains.", name="get_weather"),
    ]
    tokens = prompt.tokens(talk, TOOLS)
    written = runner.vocabulary.marked_text(tokens)
    assert "get_weather" in written.split("assistant\n")[0]
    assert "It rains." in written.split("assistant\n")[1]
    controls = [place for place, token in enumerate(tokens) if token in runner.vocabulary.controls]
    marks = [runner.vocabulary.text_of(tokens[place]) for place in controls]
    begin = next(place for place in controls if "assistant" in runner.vocabulary.text(tokens[place : place + 3]))
    end = next(place for place in controls if place > begin)
    turn = runner.vocabulary.marked_text(tokens[begin + 1 : end]).removeprefix("assistant\n")
    assert parse(turn, TOOLS) == Parsed(text, calls, parse(turn, TOOLS).spans)
    assert marks.count("<|im_start|>") == marks.count("<|im_end|>") + 1


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        '"}',
        "{",
        ">>>get\n{}",
        "```",
        "\n",
        "<function=get>",
        "\\",
        "<think>",
        "</think>",
    ]
)
leaves = (
    texts | st.integers(-(2**60), 2**60) | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
quoted = st.builds(ToolUse, st.sampled_from(["get_weather", "get"]), st.dictionaries(texts, values, max_size=4))
# Qwen3-Coder's form has no way to quote: keys are words, and text stays text only where the schema says so.
tagged = st.builds(
    ToolUse,
    st.just("get_weather"),
    st.fixed_dictionaries({"city": texts, "days": st.integers()}, optional={"x": st.lists(leaves)}),
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_arguments_come_back(family: str, data: st.DataObject) -> None:
    uses = tagged if family == "qwen3_coder" else quoted
    calls = data.draw(st.lists(uses, min_size=1, max_size=3))
    parsed = parse(turn_of(template_of(family), "", calls), TOOLS)
    assert parsed.text == ""
    assert parsed.calls == tuple(calls)


@pytest.mark.parametrize(
    ("text", "rest", "count"),
    [
        (CALL, "", 1),
        (f"[{CALL}, {CALL}]", "", 2),
        (f"Sure:\n```json\n{CALL}\n```\nDone.", "Sure:\n\nDone.", 1),
        (f"```\n[{CALL}]\n```", "", 1),
        (f"```py\nx = [\n{CALL}\n```\n{CALL}\n", f"```py\nx = [\n{CALL}\n```", 1),
        (f"Well.\n{CALL}\nThen\n{CALL}", "Well.\n\nThen", 2),
        (f"{CALL}; {CALL};", "", 2),
        (f"{CALL}\n{CALL} is it", f"{CALL} is it", 1),
        ('{"name": "get_weather", "parameters": {"city": "Ulm"}}', "", 1),
        ('{"type": "function", "name": "get_weather", "parameters": {"city": "Ulm"}}', "", 1),
        ('{"name": "get_weather", "arguments": "{\\"city\\": \\"Ulm\\"}"}', "", 1),
        (f'{{"tool_calls": [{{"id": "1", "type": "function", "function": {CALL}}}], "content": null}}', "", 1),
        (f"<|python_tag|>{CALL}", "", 1),
        (f"<tool_call>{CALL}</tool_call>\n<tool_call>\n{CALL}\n</tool_call>", "", 2),
        (f"<tool_call>[{CALL},{CALL}]</tool_call>", "", 2),
        (f"<tools>\n{CALL}\n</tools>", "", 1),
        (f"Yes. <tool_call>{CALL}", "Yes.", 1),
        (f"<think>\n{CALL}\n</think>\n{CALL}", f"<think>\n{CALL}\n</think>", 1),
        (f"I could\n{CALL}\nor not.\n</think>\n{CALL}", f"I could\n{CALL}\nor not.\n</think>", 1),
        (f"so\n[/THINK]\n{CALL}", "so\n[/THINK]", 1),
        ('<function=get_weather>{"city": "Ulm"}</function>', "", 1),
        ("<function=get_weather>\n<parameter=city>\nUlm\n</parameter>\n</function>\n</tool_call>", "</tool_call>", 1),
        (f"[TOOL_CALLS][{CALL}]", "", 1),
        (f"  [TOOL_CALLS] [{CALL}]", "", 1),
        ('[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{"city": "Ulm"}', "", 1),
        ('[TOOL_CALLS]get_weather{"city": "Ulm"}[TOOL_CALLS]get_weather[ARGS]{"city": "Ulm"}', "", 2),
        ('get_weather\n{"city": "Ulm"}>>>get_weather\n{"city": "Ulm"}', "", 2),
        ('all\nI look.>>>get_weather\n{"city": "Ulm"}', "I look.", 1),
        ('>>>all\nI look.>>>get_weather\n{"city": "Ulm"}', "I look.", 1),
    ],
)
def test_forms_of_calls(text: str, rest: str, count: int) -> None:
    parsed = parse(text, TOOLS)
    assert parsed.calls == (RAIN,) * count
    assert parsed.text == rest


DEEP = '{"a":' * 70 + "1" + "}" * 70


@pytest.mark.parametrize(
    "text",
    [
        "",
        "get_weather",
        "all\nHello",
        f"Write {CALL} to call it.",
        f"<think>{CALL}",
        f"<think>\n{CALL}\n",
        f"{CALL}\n</think>",
        '{"name": "unknown", "arguments": {}}',
        f'[{CALL}, {{"name": "unknown", "arguments": {{}}}}]',
        f'{{"steps": [\n{CALL}\n]}}',
        f'["x",\n{CALL}\n]',
        f"<tool_call>{CALL} and so on</tool_call>",
        f"<tool_call>{CALL[:-1]}</tool_call>",
        CALL[:-1],
        '{"name": "get", "arguments": []}',
        '{"name": "get", "arguments": "[]"}',
        '{"name": "get", "arguments": "x"}',
        '{"name": "get"}',
        '{"name": ["get"], "arguments": {}}',
        '{"name": "get", "arguments": {}, "parameters": {}}',
        '{"name": "get", "arguments": {}, "thought": "so"}',
        '{"name": "get", "description": "Anything", "parameters": {"type": "object"}}',
        f'{{"tool_calls": [{CALL}], "content": "I look."}}',
        '{"tool_calls": []}',
        '{"name": "get", "name": "get_weather", "arguments": {}}',
        '{"name": "get", "arguments": {"a": 1, "a": 2}}',
        '{"name": "get", "arguments": {"a": NaN}}',
        '{"name": "get", "arguments": {"a": -Infinity}}',
        '{"name": "get", "arguments": {"a": 1e999}}',
        '{"name": "get", "arguments": {"a": "\\ud800"}}',
        '{"name": "get", "arguments": {"\\udfff": 1}}',
        f'{{"name": "get", "arguments": {{"a": {"9" * 5000}}}}}',
        f'{{"name": "get", "arguments": {DEEP}}}',
        '{"name": "get", "arguments": ' + '{"a":[' * 50_000,
        "<function=unknown>{}</function>",
        "<function=get><parameter=a>1</parameter> and",
        "<function=get><parameter=a>1</parameter><parameter=a>2</parameter></function>",
        "<function=get><parameter=a>1</function>",
        "<function=get",
        "[TOOL_CALLS]unknown[ARGS]{}",
        "[TOOL_CALLS]get[ARGS][]",
        "[TOOL_CALLS]",
        "<|python_tag|>get.call(x=1)",
        ">>>print(1)\n1\n>>>",
        "```",
        "```json",
    ],
)
def test_what_is_no_whole_call_stays_text(text: str) -> None:
    assert parse(text, TOOLS) == Parsed(text)


def test_without_tools_there_is_no_call() -> None:
    assert parse(CALL, []) == Parsed(CALL)


def test_values_in_tags_follow_the_schema() -> None:
    def tagged(key: str, value: str) -> Any:
        text = f"<function=get_weather><parameter={key}>\n{value}\n</parameter></function>"
        return parse(text, TOOLS).calls[0].arguments[key]

    assert tagged("city", "12") == "12"
    assert tagged("city", " a\nb ") == " a\nb "
    assert tagged("days", "12") == 12
    assert tagged("days", "many") == "many"
    assert tagged("other", '{"a": [null]}') == {"a": [None]}
    assert tagged("other", "null") is None
    assert tagged("other", "NaN") == "NaN"


pieces = st.lists(
    st.sampled_from(
        [
            *(
                "<tool_call>",
                "</tool_call>",
                "<tools>",
                "<function=",
                "get>",
                "</function>",
                "<parameter=a>",
                "</parameter>",
            ),
            *(
                "[TOOL_CALLS]",
                "[ARGS]",
                "<|python_tag|>",
                ">>>",
                "all\n",
                "get\n",
                "```",
                "json\n",
                "<think>",
                "</think>",
            ),
            *("{", "}", "[", "]", '"', ",", ";", "\n", " ", "{}", CALL, f"\n{CALL}\n", "\ud800", "é", '{"a":1}', "NaN"),
        ]
    )
    | st.text(max_size=4),
    max_size=30,
)


@settings(max_examples=400, deadline=None)
@given(pieces)
def test_any_text_comes_back_whole(parts: list[str]) -> None:
    text = "".join(parts)
    parsed = parse(text, TOOLS)
    if not parsed.calls:
        assert parsed == Parsed(text)
        return
    rest, at = "", 0
    for begin, end in parsed.spans:
        assert at <= begin < end
        rest, at = rest + text[at:begin], end
    assert parsed.text == (rest + text[at:]).strip()
    assert {call.name for call in parsed.calls} <= {"get", "get_weather"}
    assert all(
        any(call.name in text[begin:end] for call in parsed.calls) or ">>>" in text for begin, end in parsed.spans
    )


class Counted(str):
    """A text that counts how many of its characters are searched."""

    read = 0

    def find(self, mark: str, start: int = 0, end: int | None = None, /) -> int:  # type: ignore[override]
        place = super().find(mark, start, end)
        Counted.read += (place if place >= 0 else min(end or len(self), len(self))) - start
        return place

    def count(self, mark: str, start: int = 0, end: int | None = None, /) -> int:  # type: ignore[override]
        Counted.read += (len(self) if end is None else end) - start
        return super().count(mark, start, end)


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "<tool_call>",
            '<tool_call>["',
            "<tool_call>[1,",
            '<tool_call>{"a":"',
            "<function=get>",
            "[TOOL_CALLS][[",
            ">>>get\n{",
        ),
        *(
            "<function=get><parameter=a>",
            "```\n",
            "```\n[",
            "\n[",
            "\n{",
            f"\n{CALL} x",
            f"\n{CALL},",
            '\n["",',
            "\n \t",
            "NaN,\n[",
        ),
        *('\n{"a":"', "</think>", "<think>", '\n"[', "[TOOL_CALLS]get[CALL_ID]", '<tool_call>"<tool_call>["",'),
    ],
)
def test_the_time_is_linear(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = call_json._DECODER.raw_decode

    def counted(text: str, at: int = 0) -> tuple[Any, int]:
        end = at
        try:
            value, end = decode(text, at)
        except json.JSONDecodeError as error:
            end = len(text) if error.msg.startswith("Unterminated") else error.pos
            raise
        finally:
            Counted.read += end - at
        return value, end

    monkeypatch.setattr(call_json._DECODER, "raw_decode", counted)
    monkeypatch.setattr(Counted, "read", 0)
    text = Counted(unit * 2000)
    parse(text, TOOLS)
    # Twice for each unit would be thousands of times the text.
    assert Counted.read <= 100 * len(text)


def test_control_tokens_of_an_answer_are_kept_for_reading_calls() -> None:
    words = Vocabulary(
        (b"<s>", b"</s>", b"<|python_tag|>", b"a"), frozenset({0, 1, 2}), frozenset({0, 1, 2}), (1,), 0, True
    )
    assert words.marked_text([2, 3, 1]) == "<|python_tag|>a"
    assert words.text([2, 3, 1]) == "a"

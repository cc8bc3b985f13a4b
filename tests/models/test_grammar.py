"""What answers are bound to: schemas, regular expressions, choices and tool calls; and where an answer stands in it."""

import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.engine.engine import Engine
from models.engine.grammar import KEPT, Grammar, Grammars
from models.errors import SchemaUnsupported
from models.request import Message, Request, ToolSpec
from store.records.errors import ModelFailed

Bind = Callable[..., Grammar]


@pytest.fixture(scope="module")
def grammars(chat: Engine) -> Grammars:
    return Grammars(chat._runner.grammar_tokens())


@pytest.fixture(scope="module")
def bind(grammars: Grammars) -> Bind:
    """Makes the grammar of a request with these fields."""

    def make(**fields: Any) -> Grammar:
        found = grammars.of(Request((Message("user", "x"),), **fields))
        assert found is not None
        return found

    return make


def record(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


ADD = ToolSpec(
    "math.add", "adds", record(a={"$ref": "#/$defs/n"}, b={"$ref": "#/$defs/n"}) | {"$defs": {"n": {"type": "integer"}}}
)
ECHO = ToolSpec("echo", "says it again", record(text={"$ref": "#/$defs/n"}) | {"$defs": {"n": {"type": "string"}}})
PING = ToolSpec("ping", "", {})


def fits(grammars: Grammars, grammar: Grammar, text: str) -> bool:
    """Whether the grammar lets a model write the text and end there, and the check agrees."""
    matcher = grammar.matcher()
    written = all(matcher.accept(token) for token in grammars._tokens.tokenize_str(text))
    ended = written and (matcher.done or any(matcher.accept(token) for token in grammars._tokens.eos_tokens))
    try:
        grammar.check(text)
    except ModelFailed:
        assert not ended
        return False
    return ended


def test_free_text_is_bound_to_nothing(grammars: Grammars) -> None:
    assert grammars.of(Request((), tools=(ADD,))) is None
    assert grammars.of(Request(())) is None


@pytest.mark.parametrize(
    ("fields", "yes", "no"),
    [
        ({"regex": r"[A-Z]{2}-\d+"}, ["AB-1", "XY-0042"], ["ab-1", "AB-", "AB-1 ", " AB-1", "AB-١"]),
        ({"regex": "^a|b$"}, ["a", "b"], ["ab", "", "xb"]),
        ({"regex": "(?:ha)*"}, ["", "haha"], ["hah"]),
        (
            {"choices": ("yes", "yes, but", "no.*", "é😀\n")},
            ["yes", "yes, but", "no.*", "é😀\n"],
            ["ye", "no", "nox", "yes,"],
        ),
        ({"schema": {"enum": ["yes", 1]}}, ['"yes"', "1"], ["yes", " 1", '"ye"']),
    ],
    ids=["regex", "anchored", "empty", "choices", "schema"],
)
def test_an_answer_is_what_it_is_bound_to(
    grammars: Grammars, bind: Bind, fields: dict[str, Any], yes: list[str], no: list[str]
) -> None:
    grammar = bind(**fields)
    assert [text for text in yes if not fits(grammars, grammar, text)] == []
    assert [text for text in no if fits(grammars, grammar, text)] == []


def call(name: Any, **arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments}, separators=(",", ":"))


@pytest.mark.parametrize("several", [False, True])
def test_a_required_call_names_a_tool_and_fits_its_schema(grammars: Grammars, bind: Bind, several: bool) -> None:
    grammar = bind(tools=(ADD, ECHO, PING), tool_choice="required", parallel_calls=several)
    good = [call("math.add", a=1, b=-2), call("echo", text="1"), call("ping"), call("ping", any=[None])]
    bad = [
        call("echo", text=1),
        call("math.add", a=1),
        call("math_add", a=1, b=2),
        call("other"),
        "{}",
        '"echo"',
        call(["ping"]),
    ]
    if several:
        bad += [*(f"[{text}]" for text in bad), "[]", good[0], f"{good[0]},{good[1]}", f"[{good[0]},]"]
        good = [*(f"[{text}]" for text in good), f"[{','.join(good)}]"]
    else:
        bad += [f"[{text}]" for text in good] + ['{"name":"ping","arguments":3}', '{"name":"ping"}']
    assert [text for text in good if not fits(grammars, grammar, text)] == []
    assert [text for text in bad if fits(grammars, grammar, text)] == []


def test_a_tool_whose_schema_cannot_be_enforced_is_named(bind: Bind) -> None:
    odd = ToolSpec("odd", "", record(a={"type": "array", "uniqueItems": True}))
    for tool, named in (
        (odd, r"uniqueItems \(tool odd: /properties/a\)"),
        (ToolSpec("odd", "", {"type": "string"}), "must be an object .*tool odd"),
        (ToolSpec("odd", "", {"type": "object", "properties": 5}), "not a JSON Schema"),
        (ToolSpec("odd", "", {"$ref": "#"}), r"\$ref without an end"),
    ):
        with pytest.raises(SchemaUnsupported, match=named):
            bind(tools=(ADD, tool), tool_choice="required")


@pytest.mark.parametrize("regex", ["(", "(?=a)b", "(a{200}){200}"])
def test_a_regex_that_cannot_be_enforced_is_refused(bind: Bind, regex: str) -> None:
    with pytest.raises(SchemaUnsupported):
        bind(regex=regex)


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


def test_what_differs_has_another_grammar(bind: Bind) -> None:
    made = [
        bind(schema={"enum": ["a"]}),
        bind(regex="a"),
        bind(choices=("a", "b")),
        bind(choices=("a",)),
        bind(tools=(ECHO,), tool_choice="required"),
        bind(tools=(ECHO,), tool_choice="required", parallel_calls=True),
        bind(tools=(ECHO, PING), tool_choice="required"),
    ]
    assert len({id(each) for each in made}) == len(made)
    assert bind(regex="a") is made[1]


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


def test_an_answer_nested_too_deeply_to_be_checked_is_refused(grammars: Grammars) -> None:
    grammar = grammars.get({"type": "array", "items": {"$ref": "#"}})
    with pytest.raises(ModelFailed):
        grammar.check("[" * 900 + "]" * 900)


def test_matchers_of_one_grammar_are_independent(grammars: Grammars) -> None:
    grammar = grammars.get({"enum": ["yes", "no"]})
    one, other = grammar.matcher(), grammar.matcher()
    while not one.done:
        allowed = one.allowed().nonzero()[0]
        assert not one.accept(int((~one.allowed()).nonzero()[0][0]))
        assert one.accept(int(allowed[0]))
    assert not other.done


def test_a_matcher_takes_back_tokens(grammars: Grammars) -> None:
    matcher = grammars.get(record(kind={"enum": ["cat", "cow"]}, age={"type": "integer"})).matcher()
    forced = matcher.forced(100)
    start = matcher.allowed()
    tokens = grammars._tokens.tokenize_str('cat","age":7}')
    ends = [all(matcher.accept(token) for token in tokens) and matcher.done]
    matcher.rollback(len(tokens))
    assert [*ends, matcher.done] == [True, False]
    np.testing.assert_array_equal(matcher.allowed(), start)
    assert all(matcher.accept(token) for token in grammars._tokens.tokenize_str("cow"))
    matcher.rollback(1)
    matcher.rollback(0)
    before = matcher.allowed()
    ahead = matcher.forced(100)
    matcher.rollback(len(ahead))
    np.testing.assert_array_equal(matcher.allowed(), before)
    with pytest.raises(ModelFailed, match="take back"):
        matcher.rollback(len(forced) + 100)


def test_what_was_prepared_on_another_thread_is_what_is_allowed(grammars: Grammars) -> None:
    grammar = grammars.get(record(text={"type": "string", "maxLength": 30}, next={"type": "integer"}))
    plain, subject = grammar.matcher(), grammar.matcher()
    random = np.random.default_rng(2)
    for _ in range(30):
        assert plain.forced(50) == subject.forced(50)
        if plain.done:
            break
        threads = [threading.Thread(target=subject.prepare) for _ in range(3)]
        for thread in threads:
            thread.start()
        allowed = plain.allowed()
        token = int(random.choice(allowed.nonzero()[0]))
        refused = int((~allowed).nonzero()[0][0])
        # While the masks are computed: a refused token changes nothing, a taken one makes them void.
        assert not subject.accept(refused)
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(subject.allowed(), allowed)
        assert plain.accept(token)
        assert subject.accept(token)


def test_forced_tokens_are_the_ones_that_the_model_would_write(grammars: Grammars) -> None:
    tokens = grammars._tokens
    assert tokens.is_canonical
    schema = record(
        temperature={"const": 21.5}, description={"enum": ["A sunny day", "A rainy day"]}, note={"const": "é😀"}
    )
    for chosen in ("sunny", "rainy"):
        whole = json.dumps(
            {"temperature": 21.5, "description": f"A {chosen} day", "note": "é😀"},
            separators=(",", ":"),
            ensure_ascii=False,
        )
        expected = tokens.tokenize_str(whole)
        matcher, taken = grammars.get(schema).matcher(), list[int]()
        sampled = 0
        while not matcher.done:
            taken += matcher.forced(100)
            if not matcher.done:
                taken.append(expected[len(taken)])
                sampled += 1
                assert matcher.accept(taken[-1])
        assert taken == expected
        assert sampled <= 3


def test_a_grammar_that_grew_too_large_says_so(grammars: Grammars) -> None:
    matcher = grammars.get({"const": 1}).matcher()
    matcher.check()
    matcher._matcher.consume_tokens(grammars._tokens.tokenize_str("not this"))
    with pytest.raises(ModelFailed, match="beyond its limits"):
        matcher.check()

"""Regular expressions: one meaning for all readers, linear matching, and a name for what is left out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.engine.pattern import Pattern, escaped
from models.errors import SchemaUnsupported
from store.records.errors import ModelFailed

ATOMS = st.sampled_from(["a", "b", "é", "[ab]", "[^a]", "[a-c€]", r"\.", r"\x61", r"\u00e9"])


def expressions() -> st.SearchStrategy[str]:
    return st.recursive(
        ATOMS,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?"])).map(
                lambda pair: f"({pair[0]}){pair[1]}"
            ),
        ),
        max_leaves=6,
    )


@given(expressions(), st.text("abcé€.", max_size=7))
def test_it_matches_as_pythons_matcher_does(expression: str, text: str) -> None:
    assert Pattern(expression).matches(text) == bool(re.fullmatch(expression, text))
    assert Pattern(expression, anywhere=True).matches(text) == bool(re.search(expression, text))
    assert Pattern(f"^{expression}", anywhere=True).matches(text) == bool(re.match(expression, text))


@given(expressions(), st.text("abcé€.", max_size=7))
def test_what_the_grammar_gets_means_the_same(expression: str, text: str) -> None:
    python = re.sub(r"\\x\{([0-9A-F]+)\}", lambda found: re.escape(chr(int(found[1], 16))), Pattern(expression).rust)
    assert bool(re.fullmatch(python, text)) == Pattern(expression).matches(text)


@pytest.mark.parametrize(
    ("expression", "yes", "no"),
    [
        (r"^\d+$", ["0", "42"], ["", "٣", "4a"]),
        (r"^\w\W$", ["a-", "_é"], ["é-", "ab"]),
        (r"^\s\S$", ["\ufeffa", "\u00a0\x85"], ["\x1fa", "  "]),
        (r"^.$", ["a", "\x85", "😀"], ["\n", "\r", "\u2028", "ab"]),
        ("a|^b|c$", ["xax", "bx", "xc"], ["xbx", "cx", ""]),
        ("(^a|b$)", ["ax", "xb"], ["xa", "bx"]),
        ("((?:^a$)|(?<n>b))", ["a", "xbx"], ["aa"]),
        ("^a{2,3}$", ["aa", "aaa"], ["a", "aaaa"]),
        (r"^a{,2}\/[\]\-x-]$", ["a{,2}/]", "a{,2}/-"], ["aa/x", "/]"]),
        (r"^[\d.\-]+\t$", ["1.-\t"], ["1 \t"]),
        (r"^\u{1F600}?$", ["😀", ""], ["x"]),
        ("^$", [""], ["a", "\n"]),
        ("$", ["", "a\n"], []),
        ("", ["", "abc"], []),
    ],
)
def test_it_means_what_ecmascript_means(expression: str, yes: list[str], no: list[str]) -> None:
    pattern = Pattern(expression, anywhere=True)
    assert [text for text in yes if not pattern.matches(text)] == []
    assert [text for text in no if pattern.matches(text)] == []


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("(?=a)b", "look-around"),
        ("(?<!a)b", "look-around"),
        (r"(a)\1", "back-reference"),
        (r"\k<a>", "back-reference"),
        ("(?i)a", r"\(\?i"),
        (r"\bfoo", "word border"),
        (r"\p{L}", "Unicode class"),
        (r"a\Z", "anchor that ECMA-262 lacks"),
        (r"\cA", r"\\c"),
        (r"\q", r"\\q"),
        ("a$b", "anchor"),
        ("(a^)", "anchor"),
        ("(^a)*", "anchor"),
        ("^*", "anchor"),
        ("a++", "repetition of a repetition"),
        ("a{2}{3}", "repetition of a repetition"),
        ("a{3,2}", "bounds"),
        ("*a", "repeats nothing"),
        ("{2}", "repeats nothing"),
        ("(a{200}){200}", "10000"),
        ("a{99999}", "10000"),
        ("[[:alpha:]]", r"\[: in a class"),
        ("[a&&b]", "&& in a class"),
        ("[]a]", "empty class"),
        ("[^]", "empty class"),
        ("[z-a]", "run in a class"),
        (r"[\d-z]", "run in a class"),
        ("(a", r"\( without"),
        ("a)", r"\) without"),
        ("[a", "not complete"),
        ("a\\", "not complete"),
        (r"\ud800", "no character"),
        (r"\u{110000}", "no character"),
        ("(" * 60 + ")" * 60, "nested"),
        ("a" * 5000, "5000 characters"),
    ],
)
def test_what_is_not_read_alike_by_all_is_refused_by_name(expression: str, named: str) -> None:
    with pytest.raises(SchemaUnsupported, match=named) as caught:
        Pattern(expression)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "text", "fits"),
    [
        ("^(a+)+$", "a" * 5000 + "b", False),
        ("(a*)*b", "a" * 5000, False),
        ("^(a|a)*$", "a" * 5000, True),
        ("(a?){300}a{300}", "a" * 300, True),
        ("^.{0,5000}$", "x" * 400, True),
        ("x" * 900, "x" * 900, True),
        ("x?" * 400, "x" * 400, True),
    ],
)
def test_what_takes_others_exponential_time_takes_few_steps(expression: str, text: str, fits: bool) -> None:
    assert Pattern(expression, anywhere=True).matches(text) is fits


def test_what_would_take_too_long_is_given_up() -> None:
    for expression, text in (("(?:.{0,90}a){90}", "xa" * 20_000), ("x?" * 2000, "x" * 2000)):
        with pytest.raises(ModelFailed, match="too long"):
            Pattern(expression, anywhere=True).matches(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
def test_an_escaped_text_is_itself(text: str) -> None:
    codes = re.sub(r"\\x\{([0-9A-F]+)\}", lambda found: chr(int(found[1], 16)), escaped(text))
    assert codes == text

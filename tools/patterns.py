"""Regular expressions out of tool servers' schemas, matched in a time that their author cannot choose.

Python's own `re` backtracks: a short pattern such as `(a+)+$` on a short text can hold the process for years. Here
every pattern goes to the Rust crate `regex`, which pydantic brings along and which never backtracks (finite automata
after Thompson, 1968; it refuses look-around and back-references, which automata cannot do). Its time is bounded by the
length of the text times the states of the pattern, so those are counted first. Nothing here may call `re` on a pattern
that came from elsewhere.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

MOST_STATES = 20_000
LONGEST = 10_000
"""Characters of one pattern."""
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d+),?(\d*)\}|\(\?(?::|P?<)|[()]|.", re.DOTALL)
_ASCII = {r"\d": "0-9", r"\w": "0-9A-Za-z_", r"\D": "^0-9", r"\W": "^0-9A-Za-z_"}
"""What ECMA-262, whose expressions JSON Schema means, has for them; in Rust they span all of Unicode."""
_MANY = 20
"""States of a class such as `[a-z]`, about: most are a few ranges of UTF-8 bytes."""


class Unmatchable(ValueError):
    """The pattern is none, or one that cannot be matched in bounded time; says so in words that follow `is`."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern. `states` is about how many places in it a match can be at once, with repetitions written out."""

    states: int
    _matcher: SchemaValidator

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere in `text`, as JSON Schema asks; not if the text is no valid Unicode."""
        return self._matcher.isinstance_python(text)


@lru_cache(maxsize=64)
def pattern(source: str) -> Pattern:
    """The pattern in `source`. Raises Unmatchable."""
    tokens = list(_TOKEN.finditer(source[: LONGEST + 1]))
    if len(source) > LONGEST or (states := _states(tokens)) > MOST_STATES:
        raise Unmatchable("too large")
    try:
        rust = core_schema.str_schema(pattern="".join(map(_rust, tokens)), regex_engine="rust-regex", strict=True)
        return Pattern(states, SchemaValidator(rust))
    except SchemaError:
        raise Unmatchable("not to be matched without backtracking") from None


def _rust(token: re.Match[str]) -> str:
    """A token as Rust writes it."""
    text = token[0]
    if text.startswith("[") and len(text) > 1:
        return re.sub(r"\\.", lambda found: f"[{_ASCII[found[0]]}]" if found[0] in _ASCII else found[0], text)
    return f"[{_ASCII[text]}]" if text in _ASCII else text


def _states(tokens: list[re.Match[str]]) -> int:
    """An estimate: classes count as `_MANY`, whatever they hold. Raises Unmatchable for groups such as `(?x)`, in
    which other rules hold than those by which the tokens were told apart."""
    groups, last, opened = [0], 0, False
    for token in tokens:
        text = token[0]
        if opened and text == "?":
            raise Unmatchable("not to be matched without backtracking")
        opened = text == "("
        if text in ("(", "(?:", "(?<", "(?P<"):
            groups.append(0)
            last = 0
        elif text == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        elif token[1] is not None:
            times = max(1, int(token[1][:6]), int(token[2][:6] or 0))
            groups[-1] += last * (times - 1)
            last *= times
        else:
            last = 1 if len(text) == 1 and text != "." else _MANY
            groups[-1] += last
    return 1 + sum(groups)

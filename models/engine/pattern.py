"""Regular expressions that mean the same to everyone, and a matcher of our own for them.

A pattern comes from a schema or a request, is enforced by llguidance (whose dialect is Rust's) and is meant as
ECMA-262 by JSON Schema. Where the dialects differ, a pattern is either written out so that only ECMA's meaning is left
(`\\d` is `[0-9]`, `.` is no line terminator) or refused by name. Patterns may come from untrusted tool servers:
matching takes no exponential time, unlike Python's `re`, and is bounded.
"""

from bisect import bisect_right
from collections.abc import Iterable
from functools import reduce

from models.engine.pattern_syntax import ANY, Node, Ranges, Syntax
from store.records.errors import ModelFailed

MOST_STEPS = 1_000_000
_KEPT = 50_000
_NOTHING: frozenset[int] = frozenset()


class Pattern:
    """A pattern. `anywhere` says that it need only match some part of a text, as JSON Schema's `pattern` does.

    Matching takes the derivatives of the expression by each character (Antimirov, Partial Derivatives of Regular
    Expressions, 1996). Not to be used by two threads at once.
    """

    def __init__(self, text: str, *, anywhere: bool = False) -> None:
        """Raises SchemaUnsupported, naming what is wrong or means different things to different readers."""
        self._root = Syntax(text).whole(anywhere=anywhere)
        self._nodes: list[tuple[Node, bool]] = [(("nothing",), True)]
        self._ids: dict[tuple[object, ...], int] = {("nothing",): 0}
        self._steps = 0
        self._derived: dict[tuple[int, str], frozenset[int]] = {}
        self._start = self._add(self._root)

    @property
    def rust(self) -> str:
        """The expression for the whole text, in the dialect of Rust's regex crate."""
        return _rust(self._root)

    def matches(self, text: str) -> bool:
        """Whether the pattern fits. Raises ModelFailed if that would take too long to find out."""
        states = frozenset((self._start,))
        self._steps = 0
        for character in text:
            states = _NOTHING.union(*(self._derive(state, character) for state in states))
        return any(self._nodes[state][1] for state in states)

    def _add(self, node: Node) -> int:
        """The id of an expression. Its parts become ids, so that equal expressions are found to be equal."""
        match node:
            case ("set", ranges):
                return self._intern(("set", ranges), False)
            case ("sequence", parts):
                return self._sequence([self._add(part) for part in parts], 0)
            case ("either", options):
                ids = tuple(sorted({self._add(option) for option in options}))
                return self._intern(("either", ids), any(self._nodes[each][1] for each in ids))
            case ("repeat", part, least, most):
                return self._repeat(self._add(part), least, most)
        return 0

    def _intern(self, node: Node, empty: bool) -> int:
        """The id of a node of ids; `empty` says whether it fits the empty text."""
        found = self._ids.get(node)
        if found is None:
            found = self._ids[node] = len(self._nodes)
            self._nodes.append((node, empty))
        return found

    def _sequence(self, parts: Iterable[int], rest: int) -> int:
        """Parts one after the other and then the rest, as a chain of pairs of which only the second is a chain."""
        flat: list[int] = []
        for part in parts:
            while self._nodes[part][0][0] == "then":
                flat.append(self._nodes[part][0][1])
                part = self._nodes[part][0][2]
            flat.append(part)
        return reduce(self._then, reversed(flat), rest)

    def _then(self, rest: int, part: int) -> int:
        if part == 0 or rest == 0:
            return part or rest
        return self._intern(("then", part, rest), self._nodes[part][1] and self._nodes[rest][1])

    def _repeat(self, part: int, least: int, most: int | None) -> int:
        if part == 0 or most == 0:
            return 0
        least = 0 if self._nodes[part][1] else least
        return part if (least, most) == (1, 1) else self._intern(("repeat", part, least, most), least == 0)

    def _derive(self, state: int, character: str) -> frozenset[int]:
        """The expressions that fit what may follow the character."""
        self._step()
        found = self._derived.get((state, character))
        if found is None:
            if len(self._derived) >= _KEPT:
                self._derived.clear()
            found = self._derived[state, character] = self._derive_new(state, character)
        return found

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise ModelFailed("the model's answer is too long for its pattern to be checked", "", "bound the text")

    def _derive_new(self, state: int, character: str) -> frozenset[int]:
        result: set[int] = set()
        while True:
            self._step()
            node = self._nodes[state][0]
            match node:
                case ("then", part, rest):
                    result |= {self._sequence([after], rest) for after in self._derive(part, character)}
                    if self._nodes[part][1]:
                        state = rest
                        continue
                case ("either", options):
                    result.update(*(self._derive(option, character) for option in options))
                case ("repeat", part, least, most):
                    again = self._repeat(part, max(least - 1, 0), None if most is None else most - 1)
                    result |= {self._sequence([after], again) for after in self._derive(part, character)}
                case ("set", ranges) if _holds(ranges, ord(character)):
                    result.add(0)
            return frozenset(result)


def _holds(ranges: Ranges, code: int) -> bool:
    place = bisect_right(ranges, (code, 0x10FFFF)) - 1
    return place >= 0 and ranges[place][0] <= code <= ranges[place][1]


def _rust(node: Node) -> str:
    match node:
        case ("set", ranges):
            return _rust_set(ranges)
        case ("sequence", parts):
            return "".join(map(_rust, parts))
        case ("either", options):
            return "(?:" + "|".join(map(_rust, options)) + ")"
        case ("repeat", part, least, most):
            inner = _rust(part) if part[0] == "set" else f"(?:{_rust(part)})"
            short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
            return inner + (short or f"{{{least},{'' if most is None else most}}}")
    return ""


def _rust_set(ranges: Ranges) -> str:
    if ranges == ANY:
        return "(?s:.)"
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return _rust_character(ranges[0][0])
    parts = [
        f"{_rust_character(low)}-{_rust_character(high)}" if high > low else _rust_character(low)
        for low, high in ranges
    ]
    return "[" + "".join(parts) + "]"


def _rust_character(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\x{{{code:X}}}"


def escaped(text: str) -> str:
    """A Rust expression that fits exactly this text."""
    return "".join(_rust_character(ord(character)) for character in text)

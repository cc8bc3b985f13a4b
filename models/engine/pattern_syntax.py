"""Reads regular expressions of the part of ECMA-262 that everyone reads in the same way; names what is not in it."""

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from models.errors import SchemaUnsupported

Ranges = tuple[tuple[int, int], ...]
"""A set of characters: first and last code point of each run, in order, with gaps between."""
Node = tuple[Any, ...]
"""("nothing",), ("set", Ranges), ("sequence", nodes), ("either", nodes) or ("repeat", node, least, most or None)."""

LONGEST = 4096
DEEPEST = 50
LARGEST = 10_000
"""Characters that a pattern may have at most, when all that is repeated is written out as often as it may be."""
ANY: Ranges = ((0, 0x10FFFF),)
_DIGIT: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_LINE_ENDS: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
_SPACES = (0x1680, 0x202F, 0x205F, 0x3000, 0xFEFF)
_SPACE: Ranges = tuple(
    sorted([(0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x2000, 0x200A), (0x2028, 0x2029), *((c, c) for c in _SPACES)])
)
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_NAMED = {
    "b": "a word border",
    "B": "a word border",
    "p": "a Unicode class",
    "P": "a Unicode class",
    "k": "a back-reference (backreferences remember text)",
    "A": "an anchor that ECMA-262 lacks",
    "z": "an anchor that ECMA-262 lacks",
    "Z": "an anchor that ECMA-262 lacks",
}
_COUNT = re.compile(r"\{(\d{1,6})(,(\d{1,6})?)?\}")
_GROUP = re.compile(r"\?(?::|P?<[A-Za-z_]\w*>)", re.ASCII)
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}")
_START: Node = ("start",)
_STOP: Node = ("stop",)


def complement(ranges: Ranges) -> Ranges:
    """All other characters."""
    borders = [-1, *(code for run in ranges for code in run), 0x110000]
    pairs = zip(borders[::2], borders[1::2], strict=True)
    return tuple((low + 1, high - 1) for low, high in pairs if low + 1 <= high - 1)


def union(sets: Sequence[Ranges]) -> Ranges:
    """The characters of any of the sets."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(run for ranges in sets for run in ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


class Syntax:
    """Reads one expression, once."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            self._refuse(f"a pattern of {len(text)} characters, more than {LONGEST}")
        self._text, self._place, self._depth = text, 0, 0

    def whole(self, *, anywhere: bool) -> Node:
        """The expression that a whole text must fit; `anywhere`: if the pattern need only fit a part of it."""
        node = self._either()
        if self._place < len(self._text):
            self._refuse("a ) without a (")
        sides = ("repeat", ("set", ANY), 0, None) if anywhere else ("nothing",)
        if _size(node) > LARGEST:
            self._refuse(f"repetitions that make more than {LARGEST} characters")
        options = [self._anchored(option, sides) for option in _options(node)]
        return options[0] if len(options) == 1 else ("either", tuple(options))

    def _anchored(self, option: Node, sides: Node) -> Node:
        parts = list(option[1])
        before = sides if parts[:1] != [_START] else ("nothing",)
        parts = parts[1:] if parts[:1] == [_START] else parts
        after = sides if parts[-1:] != [_STOP] else ("nothing",)
        parts = parts[:-1] if parts[-1:] == [_STOP] else parts
        if any(_anchors(part) for part in parts):
            self._refuse("an anchor (look-around) within a pattern")
        return ("sequence", (before, *parts, after))

    def _either(self) -> Node:
        options = [self._sequence()]
        while self._next("|"):
            options.append(self._sequence())
        return ("either", tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._place < len(self._text) and self._text[self._place] not in "|)":
            parts.append(self._repeated(self._atom()))
        return ("sequence", tuple(parts))

    def _repeated(self, node: Node) -> Node:
        counts = self._counts()
        if counts is None:
            return node
        least, most = counts
        if node in (_START, _STOP):
            self._refuse("an anchor that is repeated")
        if most is not None and most < least:
            self._refuse("a repetition whose bounds make no sense")
        self._next("?")
        if self._text[self._place : self._place + 1] in ("*", "+", "?") or _COUNT.match(self._text, self._place):
            self._refuse("a repetition of a repetition")
        return ("repeat", node, least, most)

    def _counts(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._next(sign):
                return counts
        if found := _COUNT.match(self._text, self._place):
            self._place = found.end()
            least = int(found[1])
            return least, least if found[2] is None else int(found[3]) if found[3] else None
        return None

    def _atom(self) -> Node:
        sign = self._take()
        match sign:
            case "(":
                return self._group()
            case "[":
                return ("set", self._class())
            case "\\":
                return ("set", self._escape())
            case ".":
                return ("set", complement(_LINE_ENDS))
            case "^":
                return _START
            case "$":
                return _STOP
            case "*" | "+" | "?":
                self._refuse(f"a {sign} that repeats nothing")
        if sign == "{" and _COUNT.match(self._text, self._place - 1):
            self._refuse("a { that repeats nothing")
        return ("set", ((ord(sign), ord(sign)),))

    def _group(self) -> Node:
        if self._text[self._place : self._place + 1] == "?":
            found = _GROUP.match(self._text, self._place)
            if not found:
                after = self._text[self._place + 1 : self._place + 3]
                looks = after[:1] in ("=", "!") or after in ("<=", "<!")
                self._refuse("look-around" if looks else f"(?{after[:1]}")
            self._place = found.end()
        self._depth += 1
        if self._depth > DEEPEST:
            self._refuse(f"groups nested more than {DEEPEST} deep")
        node = self._either()
        self._depth -= 1
        if not self._next(")"):
            self._refuse("a ( without a )")
        return node

    def _escape(self) -> Ranges:
        if found := _CODE.match(self._text, self._place):
            self._place = found.end()
            code = int(found[1] or found[2] or found[3], 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                self._refuse("the code of no character")
            return ((code, code),)
        sign = self._take()
        if sign.lower() in _CLASSES:
            ranges = _CLASSES[sign.lower()]
            return ranges if sign.islower() else complement(ranges)
        if sign in _CONTROLS:
            return ((_CONTROLS[sign], _CONTROLS[sign]),)
        if sign in _NAMED:
            self._refuse(_NAMED[sign])
        if sign.isdigit():
            self._refuse("a back-reference (backreferences remember text)")
        if sign.isalnum() or not sign.isascii():
            self._refuse(f"\\{sign}")
        return ((ord(sign), ord(sign)),)

    def _class(self) -> Ranges:
        inverted = self._next("^")
        sets: list[Ranges] = []
        while not self._next("]"):
            for doubled in ("[:", "&&", "--", "~~"):
                if self._text.startswith(doubled, self._place):
                    self._refuse(f"{doubled} in a class")
            first = self._member()
            if (
                self._text[self._place : self._place + 1] == "-"
                and self._text[self._place + 1 : self._place + 2] != "]"
            ):
                self._place += 1
                last = self._member()
                if not _single(first) or not _single(last) or last[0][0] < first[0][0]:
                    self._refuse("a run in a class that does not go from one character up to another")
                first = ((first[0][0], last[0][0]),)
            sets.append(first)
        ranges = complement(union(sets)) if inverted else union(sets)
        if not sets or not ranges:
            self._refuse("an empty class")
        return ranges

    def _member(self) -> Ranges:
        sign = self._take()
        return self._escape() if sign == "\\" else ((ord(sign), ord(sign)),)

    def _take(self) -> str:
        if self._place >= len(self._text):
            self._refuse("a pattern that is not complete")
        self._place += 1
        return self._text[self._place - 1]

    def _next(self, sign: str) -> bool:
        found = self._text.startswith(sign, self._place)
        self._place += len(sign) if found else 0
        return found

    def _refuse(self, what: str) -> NoReturn:
        raise SchemaUnsupported(f"a regular expression cannot be enforced: {what}", "", "write it in another way")


def _single(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


def _options(node: Node) -> list[Node]:
    """The alternatives of a pattern, also if it is one group of them."""
    options: list[Node] = []
    for option in node[1]:
        alone = option[1][0] if len(option[1]) == 1 else ("nothing",)
        options += _options(alone) if alone[0] == "either" else [option]
    return options


def _anchors(node: Node) -> bool:
    match node:
        case ("sequence" | "either", parts):
            return any(map(_anchors, parts))
        case ("repeat", part, _, _):
            return _anchors(part)
    return node in (_START, _STOP)


def _size(node: Node) -> int:
    """How many characters a pattern has when its repetitions are written out."""
    match node:
        case ("sequence" | "either", parts):
            return sum(_size(part) for part in parts)
        case ("repeat", part, least, most):
            return _size(part) * int(max(1, least, most or 0))
    return 1

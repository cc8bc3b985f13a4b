"""JSON as models write it in tool calls, read strictly. What a stricter reader later might read differently, or not at
all, is not JSON here: doubled keys, NaN and infinities, halves of surrogate pairs, values nested too deeply.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from models.request import ToolSpec, ToolUse

DEEPEST = 64
"""Levels of nesting at most."""
_PASSES = 8
"""How often all reads together may go over the whole text. An ordinary answer takes two or three."""
_BEGIN = re.compile(r'\{\s*["}]|\[\s*[\[\]{"\d\-ntf]')
"""How an object or an array begins, and most lines of code that begin with a bracket do not."""


class CallJson:
    """Reads JSON values at places of one text, and calls of the known tools out of values. Its time is linear in the
    text, however often it is asked: when it has read too much, it reads no more."""

    def __init__(self, text: str, tools: Mapping[str, ToolSpec]) -> None:
        self._text, self._tools = text, tools
        self._left = _PASSES * len(text) + 1024

    def value(self, at: int) -> tuple[Any, int] | None:
        """The object or array that begins at a place, and where it ends; None if there is none."""
        if self._left <= 0 or not _BEGIN.match(self._text, at):
            return None
        try:
            value, end = _DECODER.raw_decode(self._text, at)
        except json.JSONDecodeError as error:
            # The decoder has gone to the end for a string that has none, and reports where it began. The error counts
            # the lines before it, which is quick, but not nothing.
            read = len(self._text) if error.msg.startswith("Unterminated") else error.pos
            self._spend(read - at + error.pos // 8)
            return None
        except (ValueError, RecursionError):
            self._spend(len(self._text) - at)
            return None
        self._spend(end - at)
        return (value, end) if _is_plain(value) else None

    def find(self, mark: str, at: int) -> int:
        """Where a mark stands in the text from a place on; -1 if it does not."""
        if self._left <= 0:
            return -1
        place = self._text.find(mark, at)
        self._spend((place if place >= 0 else len(self._text)) - at)
        return place

    def _spend(self, characters: int) -> None:
        self._left -= characters + 1

    def calls(self, value: Any) -> list[ToolUse]:
        """The calls that a value is: one, an array of them, or OpenAI's `tool_calls`. Empty if any of it is not one."""
        if isinstance(value, dict) and "tool_calls" in value:
            says_more = value.get("content") or value.keys() - {"tool_calls", "content", "role"}
            value = None if says_more else value["tool_calls"]
        wishes = value if isinstance(value, list) else [value]
        calls = [call for each in wishes if (call := self._call(each))]
        return calls if len(calls) == len(wishes) else []

    def _call(self, value: Any) -> ToolUse | None:
        if isinstance(value, dict) and isinstance(value.get("function"), dict):
            if value.keys() - {"function", "type", "id", "index"} or value.get("type", "function") != "function":
                return None
            value = value["function"]
        if not isinstance(value, dict) or value.keys() - {"name", "arguments", "parameters", "type", "id"}:
            return None
        if value.get("type", "function") != "function" or ("arguments" in value) == ("parameters" in value):
            return None
        name, arguments = value.get("name"), value.get("arguments", value.get("parameters"))
        if isinstance(arguments, str):
            arguments = _value_of(arguments)
        if not isinstance(name, str) or name not in self._tools or not isinstance(arguments, dict):
            return None
        return ToolUse(name, arguments)


def typed(text: str, schema: Any) -> Any:
    """The value of an argument that was written without quotes: a text if its schema says so or if it is no JSON."""
    if isinstance(schema, dict) and schema.get("type") == "string":
        return text
    value = _value_of(text)
    return text if value is None and text.strip() != "null" else value


def _value_of(text: str) -> Any:
    """The JSON value that a text is; None if it is none."""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if _is_plain(value) else None


def _is_plain(value: Any) -> bool:
    """Whether a value is not nested too deeply and all its texts are Unicode."""
    pending = [(value, 0)]
    while pending:
        each, depth = pending.pop()
        if isinstance(each, str) and not _is_unicode(each):
            return False
        if isinstance(each, dict | list):
            if depth == DEEPEST:
                return False
            pending += [(inner, depth + 1) for inner in each]
            pending += [(inner, depth + 1) for inner in each.values()] if isinstance(each, dict) else []
    return True


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError
    return made


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError
    return number


def _refused(_name: str) -> NoReturn:
    raise ValueError


# A line break in a text is a mistake that models often make, and cannot be read in two ways.
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_once, parse_float=_finite, parse_constant=_refused)

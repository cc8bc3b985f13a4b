"""Reads the tool calls out of what a model said, in the forms that the common families of models use.

The family is told by the marks in the text, not by the model's name. What is not a whole, well-formed call of a known
tool stays text: nothing here guesses, repairs, raises or loses a word, and the time is linear in the text, whatever it
is. A call that is found is a wish: nobody has agreed to it, and its arguments have not been checked against a schema.

    Hermes, Qwen          <tool_call>{"name":…,"arguments":{…}}</tool_call>, once or more
    Qwen3-Coder           <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>
    Functionary 3.1       <function=NAME>{…}</function>
    Functionary 3.2       >>>NAME, a line break, {…}; text goes to `all`. Prompts end in the first `>>>`.
    Llama 3               {"name":…,"parameters":{…}}, or several after `;`, with or without <|python_tag|> before
    Mistral               [TOOL_CALLS][{"name":…,"arguments":{…}}]
    newer Mistral         [TOOL_CALLS]NAME[ARGS]{…}, once or more
    OpenAI                {"tool_calls":[{"type":"function","function":{"name":…,"arguments":"…"}}]}
    plain JSON            a call or an array of calls, on lines of its own, or in a Markdown fence
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from models.engine.call_json import CallJson, typed
from models.request import ToolSpec, ToolUse

_OPENERS = re.compile(
    r"<tool_call>|<tools>|<function_call>|<function=|\[TOOL_CALLS\]|<\|python_tag\|>|>>>|```|</think>|\[/THINK\]"
    r"|^[ \t]*(?!\[TOOL_CALLS\]|\[/THINK\])[\[{]",
    re.MULTILINE,
)
"""Where a call may begin, or thinking ends. <tools> is what Qwen2.5-Coder often writes for <tool_call>."""
_THOUGHTS = {"<think>": "</think>", "[THINK]": "[/THINK]"}
_LONGEST_WORD = 128
"""Characters of a name or of a fence's first line at most."""

Found = tuple[list[ToolUse], int]
"""Calls, and where the text goes on after them."""
Piece = tuple[int, list[ToolUse], int]
"""Where calls begin, the calls, and where they end."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a model said: the calls in their order, and the text around them.

    `spans` are the places in what was parsed (begin, end) that make up the calls; `text` is all the rest, without white
    space at its ends. Without a call, `text` is what was parsed.
    """

    text: str
    calls: tuple[ToolUse, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


def parse(text: str, tools: Sequence[ToolSpec]) -> Parsed:
    """The calls of `tools` in a whole answer.

    `text` must have its control tokens written out (Vocabulary.marked_text): some families mark calls with them.
    """
    calls: list[ToolUse] = []
    spans: list[tuple[int, int]] = []
    for start, found, end in _Reader(text, tools).all() if tools else ():
        calls += found
        spans.append((start, end))
    if not calls:
        return Parsed(text)
    borders = [0, *(place for span in spans for place in span), len(text)]
    rest = "".join(text[begin:end] for begin, end in zip(borders[::2], borders[1::2], strict=True))
    return Parsed(rest.strip(), tuple(calls), tuple(spans))


class _Reader:
    """One answer. Each method reads one form just after its mark, and returns None where it is not that form."""

    def __init__(self, text: str, tools: Sequence[ToolSpec]) -> None:
        self._text = text
        self._tools = {tool.name: tool for tool in tools}
        self._fenced = False
        self._names = sorted(self._tools, key=len, reverse=True)
        self._json = CallJson(text, self._tools)
        self._forms: dict[str, Callable[[int], Found | None]] = {
            "<function=": self._function,
            "[TOOL_CALLS]": self._mistral,
            "<|python_tag|>": self._values,
            ">>>": self._recipient,
            "```": self._fence,
        }
        self._forms |= {
            f"<{tag}>": partial(self._tagged, f"</{tag}>") for tag in ("tool_call", "tools", "function_call")
        }

    def all(self) -> list[Piece]:
        """The calls, with where each begins and ends, in their order."""
        # The first mark of Functionary 3.2 stands in the prompt.
        first = self._recipient(0)
        pieces = [(0, *first)] if first and (first[0] or ">>>" in self._text) else []
        at = pieces[0][2] if pieces else self._after_thoughts()
        while opener := _OPENERS.search(self._text, at):
            at = opener.end()
            if opener[0] in _THOUGHTS.values():
                # The model thought up to here, after a mark in the prompt, and made no call yet.
                pieces.clear()
                continue
            form = self._forms.get(opener[0])
            found = form(at) if form else self._plain(at - 1)
            if opener[0] == "```":
                self._fenced = not self._fenced and not found
            if found:
                at = found[1]
            if found and (found[0] or opener[0] == ">>>"):
                pieces.append((opener.start(), *found))
        return pieces

    def _after_thoughts(self) -> int:
        """Where a model that begins with thinking ends it: it may write of calls there, but makes none."""
        for begin, end in _THOUGHTS.items():
            if self._text.lstrip().startswith(begin):
                at = self._text.find(end)
                return at + len(end) if at >= 0 else len(self._text)
        return 0

    def _plain(self, at: int) -> Found | None:
        """JSON that begins a line. It must end one, too: else it is a part of a sentence. Other JSON is passed over
        whole, for what looks like a call in it is a part of it."""
        found = None if self._fenced else self._values(at, lines=False)
        if found:
            end = self._spaces(found[1], " \t\r;,")
            return (found[0], end) if self._text[end : end + 1] in ("", "\n") else None
        read = self._json.value(at)
        return ([], read[1]) if read else None

    def _values(self, at: int, lines: bool = True) -> Found | None:
        """JSON calls, one after the other: after `;` or `,`, or else, if `lines`, after any white space."""
        calls: list[ToolUse] = []
        end, at = at, self._spaces(at)
        while self._text[at : at + 1] in ("{", "["):
            read = self._json.value(at)
            found = self._json.calls(read[0]) if read else []
            if not read or not found:
                break
            calls += found
            end = at = read[1]
            following = self._spaces(at)
            if self._text[following : following + 1] in (";", ","):
                at = self._spaces(following + 1)
            elif lines:
                at = following
        return (calls, end) if calls else None

    def _fence(self, at: int) -> Found | None:
        """A Markdown fence with calls in it. The end of another fence begins none."""
        if self._fenced:
            return None
        line = self._text.find("\n", at, at + _LONGEST_WORD)
        return self._closed(self._values(line), "```") if line >= 0 else None

    def _tagged(self, close: str, at: int) -> Found | None:
        at = self._spaces(at)
        if self._text.startswith("<function=", at):
            return self._closed(self._function(at + len("<function=")), close)
        return self._closed(self._values(at), close)

    def _function(self, at: int) -> Found | None:
        name = self._word(at, ">")
        if name is None:
            return None
        at = self._spaces(at + len(name) + 1)
        return self._closed(self._arguments(name, at) or self._parameters(name, at), "</function>")

    def _mistral(self, at: int) -> Found | None:
        at = self._spaces(at)
        name = next((name for name in self._names if self._text.startswith(name, at)), None)
        if name is None:
            return self._values(at)
        at = self._spaces(at + len(name))
        if self._text.startswith("[CALL_ID]", at):
            number = self._word(at + len("[CALL_ID]"), "[")
            at += len("[CALL_ID]") + len(number or "")
        return self._arguments(name, at + len("[ARGS]") if self._text.startswith("[ARGS]", at) else at)

    def _recipient(self, at: int) -> Found | None:
        name = self._word(at, "\n")
        if name is None:
            return None
        return ([], at + len(name) + 1) if name == "all" else self._arguments(name, at + len(name) + 1)

    def _arguments(self, name: str, at: int) -> Found | None:
        """The arguments of a tool, a JSON object."""
        at = self._spaces(at)
        read = self._json.value(at) if name in self._tools and self._text[at : at + 1] == "{" else None
        return ([ToolUse(name, read[0])], read[1]) if read else None

    def _parameters(self, name: str, at: int) -> Found | None:
        """The arguments of a tool, each in tags. One line break at each end of a value belongs to the tags."""
        if name not in self._tools:
            return None
        schemas = self._tools[name].parameters.get("properties")
        arguments: dict[str, Any] = {}
        while self._text.startswith("<parameter=", at):
            begin = at + len("<parameter=")
            key = self._word(begin, ">")
            if key is None or key in arguments:
                return None
            begin += len(key) + 1
            end = self._json.find("</parameter>", begin)
            if end < 0:
                return None
            value = self._text[begin:end].removeprefix("\n").removesuffix("\n")
            arguments[key] = typed(value, schemas.get(key) if isinstance(schemas, dict) else None)
            at = self._spaces(end + len("</parameter>"))
        return [ToolUse(name, arguments)], at

    def _closed(self, found: Found | None, close: str) -> Found | None:
        """What was found, if its end mark follows, or nothing at all: models often end before the mark."""
        if found is None:
            return None
        at = self._spaces(found[1])
        if self._text.startswith(close, at):
            return found[0], at + len(close)
        return (found[0], at) if at == len(self._text) else None

    def _word(self, at: int, end: str) -> str | None:
        """The text from a place up to an end mark, if that is near."""
        stop = self._text.find(end, at, at + _LONGEST_WORD)
        return self._text[at:stop] if stop >= 0 else None

    def _spaces(self, at: int, kinds: str = " \t\r\n") -> int:
        """Where white space from a place on ends."""
        while self._text[at : at + 1] and self._text[at] in kinds:
            at += 1
        return at

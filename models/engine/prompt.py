"""Turns chat messages into the tokens of a prompt, through the model's own chat template.

Messages and tools may hold untrusted text. A control token that is written out in any of it (`<|im_end|>`) stays text:
only the template can begin or end a turn, and only the template can write a call.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from models.engine.sandbox import Arguments
from models.engine.template import Template
from models.engine.vocabulary import Vocabulary
from models.request import Message, ToolSpec, ToolUse
from store.records.errors import SettingsError

_BREAK = "\ufdd0"
"""A code point that Unicode keeps out of all text. It marks where a prompt is cut before it is tokenized."""
_OFFER = """To call a function, answer with nothing but a JSON object on a line of its own:
{"name": "<function>", "arguments": {<argument>: <value>}}
These are the functions, one a line, with the JSON Schema of their arguments:
"""


class Prompt:
    """Writes the prompts of one model. `tokenize` reads control tokens in a text as such.

    Tools, calls and results go to the template in OpenAI's format, each if the template mentions it. What it does not
    know is written out in the messages: the tools at the end of the system message, a call as
    `{"name":…,"arguments":…}` on a line of the assistant's turn, a result as `Result of NAME:` in the user's.
    """

    def __init__(
        self,
        template: str,
        vocabulary: Vocabulary,
        tokenize: Callable[[str], list[int]],
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Raises SettingsError if the template cannot be compiled. `now` is the date that some templates write."""
        self._vocabulary, self._tokenize = vocabulary, tokenize
        self._template = Template(template, now)
        marks = vocabulary.mark_texts()
        self._single = frozenset(mark for mark in marks if len(mark) == 1)
        self._marked = re.compile("|".join(_beginning(first, marks) for first in sorted({mark[0] for mark in marks})))

    def tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> list[int]:
        """The prompt that asks for the assistant's next turn, which may call the tools.

        Raises SettingsError if the template refuses the messages or fails on them.
        """
        tokens: list[int] = []
        for part in self._render(messages, tools).split(_BREAK):
            tokens += self._tokenize(part) if part else []
        words = self._vocabulary
        if words.begins and words.begin >= 0 and tokens[:1] != [words.begin]:
            tokens.insert(0, words.begin)
        return tokens

    def _render(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str:
        try:
            return self._template.render(self._values(messages, tools))
        except RecursionError as error:
            raise SettingsError("a tool, or a call of one, is nested too deeply", "", "flatten its schema") from error

    def _values(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[str, Any]:
        """What the template gets: only what it knows, and nothing that would be read as a control token."""
        knows = self._template.mentions
        if tools and "tools" not in knows:
            messages = _with_offer(messages, tools)
        if "tool_calls" not in knows:
            messages = [_with_calls_in_text(each) if each.calls else each for each in messages]
        if "tool" not in knows:
            messages = _with_results_in_text(messages)
        words = self._vocabulary
        values: dict[str, Any] = {
            "messages": self._defused(_chat(messages)),
            "add_generation_prompt": True,
            "bos_token": words.text_of(words.begin),
            "eos_token": words.text_of(words.ends[0]) if words.ends else "",
        }
        if tools:
            # Without tools the name stays undefined: some templates loop over whatever it is.
            values["tools"] = self._defused([{"type": "function", "function": _function(each)} for each in tools])
        return values

    def _defused(self, value: Any) -> Any:
        """The value with a cut inside whatever would be read as a control token, in all texts and keys of it."""
        if isinstance(value, str):
            return self._marked.sub(self._cut, value) if self._marked.pattern else value
        if isinstance(value, dict):
            return type(value)({self._defused(key): self._defused(each) for key, each in value.items()})
        return [self._defused(each) for each in value] if isinstance(value, list | tuple) else value

    def _cut(self, match: re.Match[str]) -> str:
        # A control token of one character cannot be cut: it is left out.
        return _BREAK if match[0] in self._single else match[0] + _BREAK


def _beginning(first: str, marks: Sequence[str]) -> str:
    """A pattern for the first character of each of the marks that begin with `first`."""
    return f"{re.escape(first)}(?={'|'.join(re.escape(mark[1:]) for mark in marks if mark[0] == first)})"


def _chat(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages in OpenAI's format. Calls get numbers of nine letters and digits, which Mistral's templates want."""
    chat: list[dict[str, Any]] = []
    waiting: list[tuple[str, str]] = []
    count = 0
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.calls:
            numbered = [(f"call{count + place:05d}", call) for place, call in enumerate(message.calls)]
            count += len(numbered)
            waiting = [(number, call.name) for number, call in numbered]
            turn["tool_calls"] = [
                {
                    "id": number,
                    "type": "function",
                    "function": {"name": call.name, "arguments": Arguments(call.arguments)},
                }
                for number, call in numbered
            ]
        elif message.role == "tool":
            fitting = [each for each in waiting if each[1] == message.name] or waiting or [("call99999", message.name)]
            turn |= {"name": message.name, "tool_call_id": fitting[0][0]}
            waiting = [each for each in waiting if each != fitting[0]]
        chat.append(turn)
    return chat


def _function(tool: ToolSpec) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def _with_offer(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Message]:
    """The messages with the tools in the system message, which is made if there is none."""
    offer = _OFFER + "\n".join(json.dumps(_function(tool), ensure_ascii=False) for tool in tools)
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n\n{offer}"), *messages[1:]]
    return [Message("system", offer), *messages]


def _with_calls_in_text(message: Message) -> Message:
    """An assistant's turn with its calls written as the offer asks for them."""
    calls = [_call_text(call) for call in message.calls]
    return Message(message.role, "\n".join([message.content, *calls] if message.content else calls))


def _call_text(call: ToolUse) -> str:
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False, separators=(",", ":"))


def _with_results_in_text(messages: Sequence[Message]) -> list[Message]:
    """The messages with the results of tools as turns of the user. Results in a row are one turn: models and templates
    expect the roles to take turns."""
    turns: list[Message] = []
    results: list[str] = []
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        if message.role != "tool":
            turns.append(message)
            continue
        results.append(f"Result of {message.name}:\n{message.content}" if message.name else message.content)
        if following is None or following.role != "tool":
            turns.append(Message("user", "\n\n".join(results)))
            results = []
    return turns

"""What may be asked of an engine. Everything that reaches llama.cpp or a sampler has passed here first."""

import re
from collections.abc import Sequence
from typing import Any

from models.request import Message, Request, ToolSpec
from store.records.errors import SettingsError

_ROLES = ("system", "user", "assistant")
COLDEST = 0.01
HOTTEST = 10.0
SHORTEST_S = 0.001
LONGEST_S = 86_400.0
MOST_TEXTS = 4096
MOST_STOPS = 16
MOST_BIASES = 1024
MOST_TOOLS = 512
LONGEST_STOP = 256
LONGEST_REGEX = 4096
LONGEST_CHOICES = 65_536
LONGEST_SPACE = 1024
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def admit(request: Request) -> None:
    """Raises SettingsError, naming the field, if a request cannot be served as it is."""
    _messages(request.messages)
    _whole("max_tokens", request.max_tokens, 1, 2**31 - 1)
    _whole("max_prompt_tokens", request.max_prompt_tokens, 0, 2**31 - 1)
    _real("deadline_s", request.deadline_s, SHORTEST_S, LONGEST_S)
    _whole("priority", request.priority, -1000, 1000)
    _text("space", request.space, LONGEST_SPACE)
    _flag("logprobs", request.logprobs)
    _sampling(request)
    _stops(request.stop)
    _constraint(request)


def admit_tokens(request: Request, vocabulary: int) -> None:
    """Raises SettingsError if a request names a token that a vocabulary of so many tokens does not have."""
    for token, _ in request.logit_bias:
        if token >= vocabulary:
            raise SettingsError(f"logit_bias names token {token}, and the model has tokens 0 to {vocabulary - 1}")


def admit_texts(what: str, texts: Sequence[str], least: int) -> None:
    """Raises SettingsError unless `texts` are `least` to MOST_TEXTS texts in Unicode."""
    if isinstance(texts, str) or not least <= len(texts) <= MOST_TEXTS:
        raise SettingsError(f"{least} to {MOST_TEXTS} {what} can be given")
    for number, text in enumerate(texts):
        _text(f"{what} {number}", text)


def admit_embedding(texts: Sequence[str], max_tokens: int, deadline_s: float) -> None:
    """Raises SettingsError, naming what is wrong, if texts cannot be embedded like that."""
    admit_texts("texts", texts, 0)
    _whole("max_tokens", max_tokens, 0, 2**31 - 1)
    _real("deadline_s", deadline_s, SHORTEST_S, LONGEST_S)


def admit_ranking(query: str, documents: Sequence[str], max_tokens: int, deadline_s: float) -> None:
    """Raises SettingsError, naming what is wrong, if documents cannot be ranked like that."""
    _text("the query", query)
    admit_texts("documents", documents, 0)
    _whole("max_tokens", max_tokens, 0, 2**31 - 1)
    _real("deadline_s", deadline_s, SHORTEST_S, LONGEST_S)


def _messages(messages: tuple[Message, ...]) -> None:
    if not messages:
        raise SettingsError("there is no message to answer", "", "give at least one")
    for number, message in enumerate(messages):
        if message.role not in _ROLES:
            raise SettingsError(f"message {number} has an unknown role", "", f"use one of {', '.join(_ROLES)}")
        _text(f"message {number}", message.content)


def _sampling(request: Request) -> None:
    _whole("seed", request.seed, 0, 2**64 - 1)
    if request.temperature != 0:
        _real("a temperature other than 0", request.temperature, COLDEST, HOTTEST)
    _whole("top_k", request.top_k, 0, 2**31 - 1)
    _real("top_p", request.top_p, 0, 1)
    if request.top_p == 0:
        raise SettingsError("top_p must be above 0", "", "use a temperature of 0 for the likeliest token")
    _real("min_p", request.min_p, 0, 1)
    _real("repetition_penalty", request.repetition_penalty, 0.1, 10)
    if not isinstance(request.logit_bias, tuple) or len(request.logit_bias) > MOST_BIASES:
        raise SettingsError(f"logit_bias must be a tuple of up to {MOST_BIASES} pairs of a token and a number")
    for pair in request.logit_bias:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise SettingsError("logit_bias holds what is not a pair of a token and a number")
        _whole("a token of logit_bias", pair[0], 0, 2**31 - 1)
        _real("a number of logit_bias", pair[1], -100, 100)
    if len({token for token, _ in request.logit_bias}) < len(request.logit_bias):
        raise SettingsError("logit_bias names a token twice")


def _stops(stops: Any) -> None:
    if not isinstance(stops, tuple) or len(stops) > MOST_STOPS:
        raise SettingsError(f"stop must be a tuple of up to {MOST_STOPS} texts")
    for number, text in enumerate(stops):
        _text(f"stop text {number}", text, LONGEST_STOP)
        if not text:
            raise SettingsError(f"stop text {number} is empty", "", "leave it out")


def _constraint(request: Request) -> None:
    """At most one of what an answer can be bound to, and that well-formed."""
    if request.schema is not None and not isinstance(request.schema, dict):
        raise SettingsError("the schema must be an object", "", "give a JSON Schema as an object")
    _text("the regex", request.regex, LONGEST_REGEX)
    _choices(request.choices)
    _tools(request)
    given = [name for name in ("schema", "regex", "choices", "tools") if getattr(request, name) not in (None, "", ())]
    if len(given) > 1:
        raise SettingsError(f"an answer cannot be bound to both {given[0]} and {given[1]}", "", "give one of them")
    if request.stop and given and (given != ["tools"] or request.tool_choice == "required"):
        raise SettingsError(f"a stop text would cut an answer that is bound to {given[0]}", "", "give one of them")


def _choices(choices: Any) -> None:
    if not isinstance(choices, tuple):
        raise SettingsError("choices must be a tuple of texts")
    admit_texts("choices", choices, 0)
    if not all(choices):
        raise SettingsError("a choice is empty", "", "leave it out")
    if len(set(choices)) < len(choices):
        raise SettingsError("a choice is given twice", "", "leave one out")
    if sum(map(len, choices)) > LONGEST_CHOICES:
        raise SettingsError(
            f"the choices have more than {LONGEST_CHOICES} characters", "", "give fewer or shorter ones"
        )


def _tools(request: Request) -> None:
    _flag("parallel_calls", request.parallel_calls)
    if request.tool_choice not in ("auto", "required"):
        raise SettingsError("tool_choice must be auto or required")
    if not isinstance(request.tools, tuple) or len(request.tools) > MOST_TOOLS:
        raise SettingsError(f"tools must be a tuple of up to {MOST_TOOLS} tools")
    if request.tool_choice == "required" and not request.tools:
        raise SettingsError("a tool call is required and there is no tool", "", "give a tool, or choose auto")
    for number, tool in enumerate(request.tools):
        if not isinstance(tool, ToolSpec):
            raise SettingsError(f"tool {number} is not a ToolSpec")
        if not isinstance(tool.name, str) or not _TOOL_NAME.fullmatch(tool.name):
            raise SettingsError(f"the name of tool {number} is not 1 to 64 letters, digits, or any of _ . -")
        _text(f"the description of tool {number}", tool.description)
        if not isinstance(tool.parameters, dict):
            raise SettingsError(f"the parameters of tool {number} are not a JSON Schema", tool.name, "give an object")
    if len({tool.name for tool in request.tools}) < len(request.tools):
        raise SettingsError("two tools have the same name", "", "rename one")


def _text(what: str, text: Any, longest: int = 2**31) -> None:
    if not isinstance(text, str):
        raise SettingsError(f"{what} is not a text")
    if len(text) > longest:
        raise SettingsError(f"{what} has {len(text)} characters, more than {longest}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"{what} holds half a surrogate pair, which is not Unicode", f"character {error.start}", "clean the text"
        ) from error


def _flag(what: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise SettingsError(f"{what} must be true or false")


def _whole(what: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise SettingsError(f"{what} must be a whole number from {least} to {most}")


def _real(what: str, value: Any, least: float, most: float) -> None:
    # The comparison refuses what is not a number and the infinities too.
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise SettingsError(f"{what} must be a number from {least:g} to {most:g}")

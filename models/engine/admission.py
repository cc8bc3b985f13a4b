"""What may be asked of an engine. Everything that reaches llama.cpp or a sampler has passed here first."""

import math
from collections.abc import Sequence
from typing import Any

from models.request import Message, Request
from store.records.errors import SettingsError

_ROLES = ("system", "user", "assistant")
COLDEST = 0.01
HOTTEST = 10.0
SHORTEST_S = 0.001
LONGEST_S = 86_400.0
MOST_TEXTS = 4096


def admit(request: Request) -> None:
    """Raises SettingsError, naming the field, if a request cannot be served as it is."""
    _messages(request.messages)
    _whole("max_tokens", request.max_tokens, 1, 2**31 - 1)
    _whole("max_prompt_tokens", request.max_prompt_tokens, 0, 2**31 - 1)
    _whole("seed", request.seed, 0, 2**64 - 1)
    if request.temperature != 0:
        _real("a temperature other than 0", request.temperature, COLDEST, HOTTEST)
    _real("deadline_s", request.deadline_s, SHORTEST_S, LONGEST_S)
    if request.schema is not None and not isinstance(request.schema, dict):
        raise SettingsError("the schema must be an object", "", "give a JSON Schema as an object")


def admit_texts(what: str, texts: Sequence[str], least: int) -> None:
    """Raises SettingsError unless `texts` are `least` to MOST_TEXTS texts in Unicode."""
    if isinstance(texts, str) or not least <= len(texts) <= MOST_TEXTS:
        raise SettingsError(f"{least} to {MOST_TEXTS} {what} can be given")
    for number, text in enumerate(texts):
        _text(f"{what} {number}", text)


def _messages(messages: tuple[Message, ...]) -> None:
    if not messages:
        raise SettingsError("there is no message to answer", "", "give at least one")
    for number, message in enumerate(messages):
        if message.role not in _ROLES:
            raise SettingsError(f"message {number} has an unknown role", "", f"use one of {', '.join(_ROLES)}")
        _text(f"message {number}", message.content)


def _text(what: str, text: Any) -> None:
    if not isinstance(text, str):
        raise SettingsError(f"{what} is not a text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"{what} holds half a surrogate pair, which is not Unicode", f"character {error.start}", "clean the text"
        ) from error


def _whole(what: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise SettingsError(f"{what} must be a whole number from {least} to {most}")


def _real(what: str, value: Any, least: float, most: float) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value) or not least <= value <= most:
        raise SettingsError(f"{what} must be a number from {least:g} to {most:g}")

"""Turns chat messages into the tokens of a prompt, through the model's own chat template.

Messages may hold untrusted text. A control token that is written out in a message (`<|im_end|>`) stays text: only the
template can begin or end a turn. Templates run in Jinja's immutable sandbox.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.engine.vocabulary import Vocabulary
from models.request import Message
from store.records.errors import SettingsError

_BREAK = "\ufdd0"
"""A code point that Unicode keeps out of all text. It marks where a prompt is cut before it is tokenized."""


class Prompt:
    """Writes the prompts of one model. `tokenize` reads control tokens in a text as such."""

    def __init__(self, template: str, vocabulary: Vocabulary, tokenize: Callable[[str], list[int]]) -> None:
        """Raises SettingsError if the template cannot be compiled."""
        self._vocabulary, self._tokenize = vocabulary, tokenize
        self._marks = vocabulary.mark_texts()
        world = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], autoescape=False
        )
        world.filters["tojson"] = _to_json
        world.globals["raise_exception"] = _refuse
        try:
            self._template = world.from_string(template)
        except (jinja2.TemplateError, RecursionError) as error:
            raise SettingsError("the model's chat template cannot be read", "", "use another GGUF file") from error

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        """The prompt that asks for the assistant's next turn. Raises SettingsError if the template refuses it."""
        tokens: list[int] = []
        for part in self._render(messages).split(_BREAK):
            tokens += self._tokenize(part) if part else []
        words = self._vocabulary
        if words.begins and words.begin >= 0 and tokens[:1] != [words.begin]:
            tokens.insert(0, words.begin)
        return tokens

    def _render(self, messages: Sequence[Message]) -> str:
        words = self._vocabulary
        try:
            return self._template.render(
                messages=[{"role": each.role, "content": self._defused(each.content)} for each in messages],
                add_generation_prompt=True,
                bos_token=words.text_of(words.begin),
                eos_token=words.text_of(words.ends[0]) if words.ends else "",
            )
        except _Refused as error:
            raise SettingsError(f"the model's chat template refuses the messages: {error}") from error
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            kind = type(error).__name__
            raise SettingsError(f"the model's chat template fails on the messages: {kind}") from error

    def _defused(self, text: str) -> str:
        """The text with a cut inside whatever would be read as a control token."""
        for mark in self._marks:
            while mark in text:
                text = text.replace(mark, mark[:1] + _BREAK + mark[1:] if len(mark) > 1 else _BREAK)
        return text


class _Refused(Exception):
    """A template called raise_exception, as templates do for roles that the model does not know."""


def _refuse(reason: object = "") -> NoReturn:
    raise _Refused(str(reason)[:120])


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)

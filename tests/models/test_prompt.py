"""Prompts: the template's turns, and no turn that a message made up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.engine.engine import Engine
from models.engine.prompt import Prompt
from models.request import Message
from store.records.errors import SettingsError


@pytest.fixture(scope="module")
def prompt(chat: Engine) -> Prompt:
    return prompt_of(chat, chat.model.template)


def prompt_of(chat: Engine, template: str) -> Prompt:
    runner = chat._runner
    return Prompt(template, runner.vocabulary, lambda text: runner.tokenize(text, controls=True))


def written(chat: Engine, tokens: list[int]) -> str:
    return b"".join(chat._runner.vocabulary.pieces[token] for token in tokens).decode()


def controls(chat: Engine, tokens: list[int]) -> int:
    return sum(token in chat._runner.vocabulary.controls for token in tokens)


def test_a_chat_is_written_as_the_template_says(chat: Engine, prompt: Prompt) -> None:
    tokens = prompt.tokens([Message("system", "Be brief."), Message("user", "Hi ✓")])
    assert written(chat, tokens) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi ✓<|im_end|>\n<|im_start|>assistant\n"
    )
    assert controls(chat, tokens) == 5


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            ["<|im_end|>", "<|im_start|>", "system\n", "<|", "im_end|>", "<|im_", "\ufdd0", "{{ 7*7 }}", "é"]
        )
        | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x24F, exclude_categories=["Cc"]), max_size=5),
        max_size=12,
    )
)
def test_no_message_can_begin_or_end_a_turn(chat: Engine, prompt: Prompt, parts: list[str]) -> None:
    text = "".join(parts)
    tokens = prompt.tokens([Message("system", "s"), Message("user", text)])
    assert controls(chat, tokens) == 5
    # The text itself reaches the model whole, but for the code point that is no character.
    assert f"user\n{text.replace(chr(0xFDD0), '')}<|im_end|>" in written(chat, tokens)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages[0].absent.deeper }}", "UndefinedError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% for i in range(10**9) %}x{% endfor %}", "OverflowError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
    ],
)
def test_a_template_that_fails_or_reaches_out_is_refused(chat: Engine, template: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        prompt_of(chat, template).tokens([Message("user", "x")])


def test_a_template_that_is_none_is_refused(chat: Engine) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        prompt_of(chat, "{% for %}")

"""Embeddings: equal to an independent forward pass of the original weights, and sensible."""

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.engine.engine import Engine
from models.request import Request
from store.records.canonical import sha256
from store.records.errors import ModelFailed, SettingsError
from tests.models.reference_bert import Reference

SENTENCES = [
    "The gateway answers 503 after the rollout of a new configuration.",
    "Since the new config was deployed, the front door fails.",
    "My grandmother bakes an apple pie every Sunday.",
    "Déjà vu: naïve coöperation, UPPER-CASE & numbers 1234567!",
    "",
]


def test_equals_an_independent_forward_pass(embedding: Engine) -> None:
    reference = Reference()
    expected = np.stack([reference.embed(text) for text in SENTENCES])
    np.testing.assert_allclose(embedding.embed(SENTENCES).vectors, expected, atol=2e-3)


def test_a_paraphrase_is_nearer_than_another_subject(embedding: Engine) -> None:
    fault, paraphrase, pie = np.array(embedding.embed(SENTENCES[:3]).vectors)
    assert fault @ paraphrase > fault @ pie + 0.3


def test_vectors_have_length_one_and_do_not_depend_on_company(embedding: Engine) -> None:
    texts = [f"service {number} is {'down' * (number % 7)}" for number in range(40)]
    together = np.array(embedding.embed(texts).vectors)
    assert together.shape == (40, 384)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.vstack([embedding.embed([text]).vectors for text in texts[:5]])
    np.testing.assert_allclose(together[:5], alone, atol=1e-4)
    assert (embedding.embed([]).vectors, embedding.embed([]).tokens) == ([], 0)


def test_nothing_of_a_long_text_is_lost(embedding: Engine) -> None:
    # The model reads 256 tokens; the end of these texts lies far beyond them.
    filler = "The weather was fine and nothing happened. " * 30
    telling = filler + "The database lost all orders after the disk was full. " * 30
    done = embedding.embed([filler, telling, "The database lost all orders, the disk was full."])
    plain, told, subject = np.array(done.vectors)
    assert subject @ told > subject @ plain + 0.2


def test_an_embedding_says_which_model_made_it_from_which_tokens_and_what_it_cost(embedding: Engine) -> None:
    done, again = embedding.embed(SENTENCES), embedding.embed(SENTENCES)
    assert (done.model, done.model_digest) == (embedding.model.name, embedding.model.sha256)
    ids = [embedding._runner.tokenize(text, ends=True) for text in SENTENCES]
    assert done.tokens == sum(map(len, ids))
    assert done.prompt_digest == again.prompt_digest == sha256(np.array([*itertools.chain(*ids)], "<i4").tobytes())
    assert done.prompt_digest != embedding.embed(SENTENCES[::-1]).prompt_digest
    assert done.device_ms > 0
    assert done.queue_ms >= 0


def test_the_allowance_of_an_embedding_is_never_exceeded(embedding: Engine) -> None:
    texts = ["one two three", "four " * 400]
    tokens = embedding.embed(texts).tokens
    assert embedding.embed(texts, max_tokens=tokens).tokens == tokens
    computed = embedding.counters["prompt_tokens"]
    with pytest.raises(ModelFailed, match=f"have {tokens} tokens, and their allowance is {tokens - 1}"):
        embedding.embed(texts, max_tokens=tokens - 1)
    assert embedding.counters["prompt_tokens"] == computed
    with pytest.raises(ModelFailed, match="deadline"):
        embedding.embed(texts, deadline_s=1, arrived=time.monotonic() - 2)


@pytest.mark.parametrize(
    "limits", [{"max_tokens": -1}, {"max_tokens": 1.5}, {"deadline_s": 0}, {"deadline_s": math.nan}]
)
def test_limits_that_make_no_sense_are_refused(embedding: Engine, limits: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(limits))):
        embedding.embed(["text"], **limits)


@pytest.mark.parametrize("texts", [["\ud800"], [b"bytes"], "one text", [None]])
def test_what_is_no_text_is_refused(embedding: Engine, texts: list[str]) -> None:
    with pytest.raises(SettingsError):
        embedding.embed(texts)


def test_each_kind_does_only_its_own(embedding: Engine, chat: Engine, ask: Callable[..., Request]) -> None:
    with pytest.raises(SettingsError, match="not for chat"):
        embedding.generate(ask("Hello"))
    with pytest.raises(SettingsError, match="not for chat"):
        embedding.score(ask("Hello"), ["a"])
    with pytest.raises(SettingsError, match="not for embedding"):
        chat.embed(["Hello"])

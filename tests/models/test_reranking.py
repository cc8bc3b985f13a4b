"""Rerankers: scores equal to what an independent forward pass and the head in numpy yield; nothing is cut."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from models.engine.engine import Engine
from models.errors import ContextOverflow, NotAModel
from models.model import Model, describe
from models.registry import Registry
from models.request import Request
from models.server import ModelServer
from store.records.canonical import sha256
from store.records.errors import ModelFailed, SettingsError
from tests.models.reference_bert import Floats, Reference

QUERY = "Why does the front door fail?"
DOCUMENTS = ["The gateway answers 503 since the rollout.", "My grandmother bakes an apple pie.", "", "front door " * 20]
WIDTH = 384
ATOL = 3e-3
"""What sums in 16 bits (flash attention) may make of a score; those of these documents lie a hundred times apart."""


class Head:
    """A head for classification with random weights, as RoBERTa's: one dense layer with tanh, and a projection."""

    def __init__(self, outputs: int = 1) -> None:
        random = np.random.default_rng(5)

        def normal(*shape: int) -> Floats:
            return (random.standard_normal(shape) * 0.05).astype(np.float32)

        self.tensors = {
            "cls.weight": normal(WIDTH, WIDTH),
            "cls.bias": normal(WIDTH),
            "cls.output.weight": normal(outputs, WIDTH),
            "cls.output.bias": normal(outputs),
        }

    def score(self, state: Floats) -> float:
        """The first output for the first token's state, float32 (384,)."""
        dense, bias, project, shift = self.tensors.values()
        return float((project @ np.tanh(dense @ state + bias) + shift)[0])


def written(source: Path, file: Path, tensors: dict[str, Floats], **keys: Any) -> Path:
    """The embedding model in `source` as a reranker with more tensors and metadata; two underscores are a dot."""
    reader, writer = GGUFReader(source), GGUFWriter(file, "bert")
    for field in reader.fields.values():
        if field.name.startswith(("bert.", "tokenizer.")) and field.name != "bert.pooling_type":
            writer.add_key_value(field.name, field.contents(), *field.types[:2])
    writer.add_pooling_type(gguf.PoolingType.RANK)
    for name, value in keys.items():
        kind = gguf.GGUFValueType.STRING if isinstance(value, str) else gguf.GGUFValueType.BOOL
        if isinstance(value, list):
            writer.add_array(name.replace("__", "."), value)
        else:
            writer.add_key_value(name.replace("__", "."), value, kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


Make = Callable[..., Model]


@pytest.fixture(scope="module")
def make(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Writes a reranker: `make(tensors, **metadata)`."""
    source = registry.get(kind="embedding").file
    folder = tmp_path_factory.mktemp("rerankers")
    return lambda tensors, **keys: describe(written(source, folder / f"{time.monotonic_ns()}.gguf", tensors, **keys))


@pytest.fixture(scope="module")
def ranker(make: Make) -> Iterator[Engine]:
    engine = Engine.load(make(Head().tensors))
    yield engine
    engine.close()


def pair(reference: Reference, query: str, document: str, *, ends: bool = False) -> list[int]:
    """[CLS] query [SEP] document, with a [SEP] more after each if the model asks for ends (which it has no other)."""
    first, second = (reference.tokens(each)[1:-1] for each in (query, document))
    separator = reference.ids["[SEP]"]
    end = [separator] * ends
    return [reference.ids["[CLS]"], *first, *end, separator, *second, *end]


def test_scores_equal_an_independent_forward_pass_and_head(ranker: Engine) -> None:
    reference, head = Reference(), Head()
    ids = [pair(reference, QUERY, document) for document in DOCUMENTS]
    done = ranker.rerank(QUERY, DOCUMENTS)
    np.testing.assert_allclose(done.scores, [head.score(reference.states(each)[0]) for each in ids], atol=ATOL)
    assert len({round(score, 1) for score in done.scores}) > 2, "a head that tells nothing apart proves nothing"
    assert done.tokens == sum(map(len, ids))
    assert done.prompt_digest == sha256(np.array([*np.concatenate(ids)], "<i4").tobytes())
    assert (done.model, done.model_digest) == (ranker.model.name, ranker.model.sha256)
    assert done.device_ms > 0


def test_the_metadata_says_which_tokens_stand_between_and_after(make: Make) -> None:
    reference, head = Reference(), Head()
    engine = Engine.load(make(head.tensors, tokenizer__ggml__add_eos_token=True))
    ids = pair(reference, QUERY, DOCUMENTS[0], ends=True)
    done = engine.rerank(QUERY, DOCUMENTS[:1])
    assert done.scores == pytest.approx([head.score(reference.states(ids)[0])], abs=ATOL)
    assert done.tokens == len(ids)
    engine.close()


def test_of_a_head_with_several_outputs_the_first_counts(make: Make) -> None:
    reference, head = Reference(), Head(outputs=2)
    engine = Engine.load(make(head.tensors, bert__classifier__output_labels=["yes", "no"]))
    ids = [pair(reference, QUERY, document) for document in DOCUMENTS]
    expected = [head.score(reference.states(each)[0]) for each in ids]
    np.testing.assert_allclose(engine.rerank(QUERY, DOCUMENTS).scores, expected, atol=ATOL)
    engine.close()


def test_a_template_is_filled_and_no_text_of_a_document_is_a_control_token(make: Make) -> None:
    reference, head = Reference(), Head()
    template = "[CLS]what: {query} text: {document}[SEP]"
    engine = Engine.load(make(head.tensors, **{"tokenizer__chat_template__rerank": template}))
    evil = "all is well [SEP] {query}"

    def expected(query: str, document: str) -> float:
        text = reference.tokens(f"what: {query} text: {document}")
        return head.score(reference.states(text)[0])

    done = engine.rerank(QUERY, [DOCUMENTS[0], evil])
    np.testing.assert_allclose(done.scores, [expected(QUERY, each) for each in (DOCUMENTS[0], evil)], atol=ATOL)
    engine.close()


def test_a_score_does_not_depend_on_company_and_many_are_batched(ranker: Engine) -> None:
    documents = [f"service {number} is {'down' * (number % 7)}" for number in range(40)]
    before = ranker.counters
    together = ranker.rerank(QUERY, documents).scores
    after = ranker.counters
    assert after["ranked_documents"] - before["ranked_documents"] == 40
    assert after["requests"] - before["requests"] == 1
    alone = [ranker.rerank(QUERY, [document]).scores[0] for document in documents[:5]]
    np.testing.assert_allclose(together[:5], alone, atol=ATOL)
    assert (ranker.rerank(QUERY, []).scores, ranker.rerank(QUERY, []).tokens) == ([], 0)


def test_nothing_is_cut_and_no_limit_is_exceeded(ranker: Engine) -> None:
    with pytest.raises(ContextOverflow, match=r"has \d{3} tokens and the context holds 256") as raised:
        ranker.rerank(QUERY, [DOCUMENTS[0], "word " * 300])
    assert raised.value.tokens > raised.value.context == 256
    tokens = ranker.rerank(QUERY, DOCUMENTS).tokens
    assert ranker.rerank(QUERY, DOCUMENTS, max_tokens=tokens).tokens == tokens
    with pytest.raises(ModelFailed, match=f"have {tokens} tokens, and their allowance is {tokens - 1}"):
        ranker.rerank(QUERY, DOCUMENTS, max_tokens=tokens - 1)
    with pytest.raises(ModelFailed, match="deadline"):
        ranker.rerank(QUERY, DOCUMENTS, deadline_s=1, arrived=time.monotonic() - 2)


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ((None, ["x"]), {}),
        (("\ud800", ["x"]), {}),
        (("x", "one text"), {}),
        (("x", [b"bytes"]), {}),
        (("x", ["\ud800"]), {}),
        (("x", ["x"]), {"max_tokens": -1}),
        (("x", ["x"]), {"deadline_s": math.nan}),
    ],
)
def test_what_makes_no_sense_is_refused(ranker: Engine, arguments: tuple[Any, Any], limits: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        ranker.rerank(*arguments, **limits)


def test_each_kind_does_only_its_own(ranker: Engine, embedding: Engine, ask: Callable[..., Request]) -> None:
    with pytest.raises(SettingsError, match="not for embedding"):
        ranker.embed(["x"])
    with pytest.raises(SettingsError, match="not for chat"):
        ranker.generate(ask("x"))
    with pytest.raises(SettingsError, match="not for reranker"):
        embedding.rerank("x", ["x"])


def test_a_reranker_without_a_head_is_refused(make: Make) -> None:
    with pytest.raises(NotAModel, match=r"no head \(cls\.output\.weight\)"):
        make({})


def test_a_head_that_computes_no_numbers_is_told(make: Make) -> None:
    tensors = Head().tensors
    tensors["cls.output.bias"][:] = np.nan
    engine = Engine.load(make(tensors))
    with pytest.raises(ModelFailed, match="no numbers"):
        engine.rerank(QUERY, DOCUMENTS)
    engine.close()


def test_the_server_ranks_with_the_sites_reranker(make: Make, ranker: Engine, tmp_path: Path) -> None:
    site = Registry(tmp_path / "site")
    server = ModelServer(site)
    with pytest.raises(SettingsError, match="there is no reranker model"):
        server.rerank(QUERY, DOCUMENTS, max_tokens=0, deadline_s=60)
    added = site.add(ranker.model.file, "ranker")
    assert (added.kind, site.default("reranker")) == ("reranker", "ranker")
    done = server.rerank(QUERY, DOCUMENTS, max_tokens=0, deadline_s=60)
    np.testing.assert_allclose(done.scores, ranker.rerank(QUERY, DOCUMENTS).scores, atol=ATOL)
    assert [each.kind for each in server.resident()] == ["reranker"]
    server.close()

"""Scores documents by how well they answer a query, with one loaded reranker. Runs on the engine's thread.

A reranker (a cross-encoder: Nogueira and Cho, Passage Re-ranking with BERT, 2019) reads query and document together,
and a head on its last layer yields one number. How the two are put together is llama.cpp's way (format_prompt_rerank
in tools/server/server-common.cpp): by the GGUF's template for reranking if it has one, else
[BOS] query [EOS] [SEP] document [EOS], of which a model gets those tokens that it asks for. Unlike there, no text of a
document is ever read as a control token.
"""

import re
import time
from collections.abc import Callable, Sequence

import numpy as np

from models.engine.embedder import passes
from models.engine.runner import Runner
from models.errors import ContextOverflow
from models.model import Model
from models.request import Ranking
from store.records.canonical import sha256
from store.records.errors import ModelFailed

_PLACES = re.compile(r"\{(query|document)\}")


class Reranker:
    """A reranker."""

    def __init__(self, runner: Runner, model: Model) -> None:
        self._runner, self._model = runner, model
        self._head, self._middle, self._tail = runner.frame()
        vocabulary = runner.vocabulary
        self._marks = {vocabulary.pieces[mark].decode("utf-8", "replace"): mark for mark in vocabulary.marks}
        self._marks.pop("", None)
        marks = "|".join(map(re.escape, sorted(self._marks, key=len, reverse=True)))
        self._template = re.split(f"({marks})", model.template) if marks else [model.template]

    def rank(
        self, query: str, documents: Sequence[str], max_tokens: int, arrived: float, expired: Callable[[], bool]
    ) -> Ranking:
        """The score of each document. `arrived` is when they came (time.monotonic).

        With nothing computed, raises SettingsError if a text is not Unicode, ContextOverflow if a document with the
        query is longer than the context, ModelFailed if there are more than `max_tokens` tokens (0: as many as there
        are). Raises ModelFailed if time expired.
        """
        started, before = time.monotonic(), self._runner.device_ns
        pairs = []
        for number, document in enumerate(documents):
            self._check(expired)
            pairs.append((number, self._pair(query, document)))
            if len(pairs[-1][1]) > self._runner.cells:
                raise ContextOverflow(len(pairs[-1][1]), self._runner.cells, self._model.name)
        tokens = [token for _, pair in pairs for token in pair]
        if 0 < max_tokens < len(tokens):
            what = f"the texts to rank have {len(tokens)} tokens, and their allowance is {max_tokens}"
            raise ModelFailed(what, self._model.name, "allow more tokens, or give fewer documents at once")
        return Ranking(
            scores=self._scores(pairs, expired),
            model=self._model.name,
            model_digest=self._model.sha256,
            prompt_digest=sha256(np.asarray(tokens, "<i4").tobytes()),
            tokens=len(tokens),
            queue_ms=round((started - arrived) * 1000),
            device_ms=round((self._runner.device_ns - before) / 1e6),
        )

    def _scores(self, pairs: Sequence[tuple[int, list[int]]], expired: Callable[[], bool]) -> list[float]:
        scores: list[float] = []
        for group in passes(pairs, self._runner.cells):
            self._check(expired)
            # A head with several outputs (a yes and a no, say) tells how well they fit by the first.
            scores += self._runner.encode([pair for _, pair in group])[:, 0].tolist()
        if not np.isfinite(scores).all():
            raise ModelFailed("the model computes scores that are no numbers", self._model.name, "use another reranker")
        return scores

    def _check(self, expired: Callable[[], bool]) -> None:
        if expired():
            raise ModelFailed("the deadline passed while documents were ranked", self._model.name, "give fewer")

    def _pair(self, query: str, document: str) -> list[int]:
        if not self._model.template:
            texts = (self._runner.tokenize(each) for each in (query, document))
            return self._head + next(texts) + self._middle + next(texts) + self._tail
        given = {"query": query, "document": document}
        tokens: list[int] = []
        for part in self._template:
            if part in self._marks:
                tokens.append(self._marks[part])
            elif part:
                tokens += self._runner.tokenize(_PLACES.sub(lambda place: given[place[1]], part))
        return tokens

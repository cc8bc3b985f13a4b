"""The engine: one model, loaded and verified, and the one thread that owns it.

Callers on any thread ask and wait; what they ask is served together, in batches. The engine turns text into text,
scores or vectors. It enforces allowance and deadline, and never acts on what a model says.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Condition, Event
from typing import TypeVar

from models.engine.admission import admit, admit_embedding, admit_ranking, admit_texts
from models.engine.answer import Saved, Score
from models.engine.clerk import Clerk, result
from models.engine.counters import Counters
from models.engine.embedder import Embedder
from models.engine.loop import Loop
from models.engine.prefix_file import PrefixFile
from models.engine.reranker import Reranker
from models.engine.runner import MOST_SEQUENCES, Load, Runner, require_device
from models.engine.sequence import Sequence as Tokens
from models.engine.writer import Writer
from models.model import Kind, Model
from models.request import Completion, Embedding, Ranking, Request
from store.records.errors import ModelFailed, SettingsError, Unreachable

LARGEST_CONTEXT = {"chat": 8192, "embedding": 2048, "reranker": 2048}
"""Tokens of context that are reserved unless more are asked for."""
SLOTS = 16
"""Sequences that run at a time unless more are asked for."""
MOST_SLOTS = MOST_SEQUENCES // 2
MOST_CELLS = 2**24
EMBED_DEADLINE_S = 600.0

T = TypeVar("T")
P = TypeVar("P", Embedding, Ranking)


class Engine:
    """A loaded model. Make one with `Engine.load`; `offloaded` is how many of its layers are on a GPU.

    `context` is the most tokens of a prompt and its answer together; `host_bytes` and `device_bytes` are what the model
    and its memory took.
    """

    def __init__(self, model: Model, pool: ThreadPoolExecutor, runner: Runner, context: int) -> None:
        self.model, self.context = model, context
        self._counters = Counters()
        self.offloaded = runner.offloaded
        self.host_bytes, self.device_bytes = runner.host_bytes, runner.device_bytes
        self._pool, self._runner = pool, runner
        self._closed = False
        self._inside, self._left = 0, Condition()
        self._writer: Writer | None = None
        self._loop: Loop | None = None
        self._embedder: Embedder | None = None
        self._reranker: Reranker | None = None

    @classmethod
    def load(
        cls,
        model: Model,
        *,
        n_ctx: int = 0,
        cells: int = 0,
        slots: int = SLOTS,
        n_threads: int = 0,
        gpu_layers: int = -1,
        require_gpu: bool = False,
        debug: bool = False,
        flash_attention: bool = True,
        share_prefixes: bool = True,
        jump_forward: bool = True,
        speculate: bool = True,
    ) -> "Engine":
        """Verifies a model's sha256 and loads it.

        `n_ctx` 0 takes the model's context, up to LARGEST_CONTEXT; `cells` is the KV memory that all sequences share,
        in tokens, 0 as much as one context; `slots` is how many sequences run at a time; `n_threads` 0 takes the cores
        this process may use; `gpu_layers` -1 takes all, on a build without a GPU none. Without `flash_attention` a
        model with 16-bit weights answers the same whatever is computed beside; it is slower. The last three exist so
        that what they are worth can be measured. Raises IntegrityError if the file was altered, SettingsError if it
        cannot be loaded that way, Unreachable if a required GPU is not there.
        """
        context = n_ctx or min(model.context, LARGEST_CONTEXT[model.kind])
        if not 0 < context <= model.context:
            raise SettingsError(f"a context of {n_ctx} is not within 1 and the model's {model.context}", model.name)
        if n_threads < 0 or gpu_layers < -1:
            raise SettingsError("the numbers of threads and GPU layers must not be negative", model.name)
        if not 0 < slots <= MOST_SLOTS or not (cells == 0 or context <= cells <= MOST_CELLS):
            raise SettingsError(
                f"1 to {MOST_SLOTS} slots and {context} to {MOST_CELLS} cells can be had", model.name, "correct them"
            )
        threads = n_threads or len(os.sched_getaffinity(0))
        load = Load(cells or context, threads, slots, gpu_layers, model.kind != "chat", flash_attention, debug)
        pool = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{model.name}")
        try:
            engine = pool.submit(cls._load, model, pool, load, require_gpu, context).result()
            if model.kind == "chat":
                engine._serve(share_prefixes, jump_forward, speculate)
        except BaseException:
            pool.shutdown()
            raise
        return engine

    @classmethod
    def _load(cls, model: Model, pool: ThreadPoolExecutor, load: Load, require_gpu: bool, context: int) -> "Engine":
        if require_gpu:
            require_device(0, 0, 0)
        with model.opened() as file:
            # By descriptor: a file that is put in the place of the verified one is not the one that is loaded.
            runner = Runner(f"/proc/self/fd/{file.fileno()}", load)
        try:
            if require_gpu:
                require_device(model.layers, load.gpu_layers, runner.offloaded)
            engine = cls(model, pool, runner, min(context, runner.cells))
            if model.kind == "embedding":
                engine._embedder = Embedder(runner, model)
            if model.kind == "reranker":
                engine._reranker = Reranker(runner, model)
        except BaseException:
            runner.close()
            raise
        return engine

    def _serve(self, share: bool, jump: bool, speculate: bool) -> None:
        """Starts to answer, on the pool's only thread."""
        self._writer = Writer(self._runner, self.model, self.context, jump=jump)
        self._loop = Loop(self._runner, self.model.name, share=share, speculate=speculate)
        self._clerk = Clerk(self._loop, self.model.name)
        self._serving = self._pool.submit(self._loop.run)

    def submit(
        self, request: Request, *, on_text: Callable[[str], None] | None = None, arrived: float | None = None
    ) -> "Future[Completion]":
        """Takes a request and returns at once; cancelling the future frees what the request holds.

        `on_text` is called, on a thread of the engine, with new text as it is written, a few times a second; if it
        raises, so does the future. `arrived` is when the request came (time.monotonic), if that was earlier. Raises
        SettingsError for a request that cannot be served, SchemaUnsupported for a schema that cannot be enforced,
        ContextOverflow for a prompt that is too long, ModelFailed for one over its allowance. The future raises
        ModelFailed if the model fails, Unreachable if it was unloaded.
        """
        admit(request)
        came = _came(arrived)
        with self._using(self._writer, "chat") as writer:
            reply = writer.reply(request, came)
            return self._clerk.serve(reply, lambda: self._completed(writer.completion(request, reply)), on_text)

    def generate(self, request: Request, *, arrived: float | None = None) -> Completion:
        """Answers a request; blocks until done. Raises as `submit` and its future do."""
        return result(self.submit(request, arrived=arrived))

    def score(
        self, request: Request, choices: Sequence[str], *, normalise: bool = False, arrived: float | None = None
    ) -> list[float]:
        """The log-likelihood (natural logarithm) of each choice as the assistant's whole reply to the request.

        Its schema, sampling and allowance do not matter here. The end of the reply counts as one token, so that a
        choice is not favoured for being the beginning of another. `normalise` divides each by its number of tokens, so
        that long choices are not put at a disadvantage. Raises as `generate` does.
        """
        admit(request)
        admit_texts("choices", choices, 1)
        came = _came(arrived)
        with self._using(self._writer, "chat") as writer:
            scores = writer.scores(request, choices, came)
            waiting = [self._clerk.serve(each, partial(self._scored, each)) for each in scores]
        try:
            done = [each.result() for each in waiting]
        finally:
            for future in waiting:
                future.cancel()
        self._counters.add(requests=1)
        return [each.total / (each.tokens if normalise else 1) for each in done]

    def save_prefix(self, request: Request, path: Path) -> int:
        """Computes the beginning that the request's messages give to every prompt, and saves it; returns its tokens.

        Only for what is public, such as a system prompt and tools. Raises as `generate` does, SettingsError if the file
        cannot be written.
        """
        admit(request)
        with self._using(self._writer, "chat") as writer:
            saved = Saved(writer.prefix(request), read=self._runner.state)
            waiting = self._clerk.serve(saved, lambda: None)
        result(waiting)
        if saved.sequence.stop != "end":
            raise ModelFailed("the deadline passed while a prefix was computed", self.model.name, "allow more time")
        PrefixFile(self._build, request.space, saved.sequence.tokens, saved.state).write(path)
        return saved.sequence.prompt

    def restore_prefix(self, path: Path) -> bool:
        """Takes over a saved prefix, so that no prompt has to compute it; False if there is no room for it just now.

        Raises SettingsError if it is of another model or build, or cannot be read; IntegrityError if it was altered.
        """
        loop, file = self._for(self._loop, "chat"), PrefixFile.read(path)
        if file.build != self._build or len(file.tokens) >= self.context:
            raise SettingsError("the prefix was saved for another model or build", str(path), "save it again")
        count = len(file.tokens)
        return loop.restore(Tokens(file.tokens, count, count, file.space), file.state).result()

    def embed(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int = 0,
        deadline_s: float = EMBED_DEADLINE_S,
        arrived: float | None = None,
    ) -> Embedding:
        """The vectors of texts, each of length 1. `max_tokens` is the allowance, 0 for none.

        Raises SettingsError for what is no text, ModelFailed if the texts are over their allowance or the model fails.
        """
        admit_embedding(texts, max_tokens, deadline_s)
        with self._using(self._embedder, "embedding") as embedder:
            done = self._pooled(partial(embedder.embed, texts, max_tokens), _came(arrived), deadline_s)
        self._counters.add(embedded_texts=len(texts))
        return done

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        max_tokens: int = 0,
        deadline_s: float = EMBED_DEADLINE_S,
        arrived: float | None = None,
    ) -> Ranking:
        """How well each document answers a query. `max_tokens` is the allowance, 0 for none.

        Raises as `embed` does, and ContextOverflow if the query and a document do not fit the context together.
        """
        admit_ranking(query, documents, max_tokens, deadline_s)
        with self._using(self._reranker, "reranker") as reranker:
            done = self._pooled(partial(reranker.rank, query, documents, max_tokens), _came(arrived), deadline_s)
        self._counters.add(ranked_documents=len(documents))
        return done

    def _pooled(self, work: Callable[[float, Callable[[], bool]], P], came: float, deadline_s: float) -> P:
        """What `work` makes of texts on the engine's thread; it is given their arrival and whether time has expired."""
        given_up = Event()

        def expired() -> bool:
            if self._closed or given_up.is_set():
                raise Unreachable("the request was given up", self.model.name)
            return time.monotonic() >= came + deadline_s

        try:
            done = self._pool.submit(work, came, expired).result()
        finally:
            given_up.set()
        self._counters.add(requests=1, prompt_tokens=done.tokens, device_ms=done.device_ms, queue_ms=done.queue_ms)
        return done

    @property
    def _build(self) -> str:
        return f"{self.model.sha256} {self._runner.build}"

    @property
    def counters(self) -> dict[str, float]:
        """What was done since the model was loaded, as models/engine/counters.py names it."""
        return self._counters.all(self._loop.steps if self._loop else None)

    @property
    def closed(self) -> bool:
        """Whether it answers no more: it was closed, or its thread has failed."""
        return self._closed or (self._loop is not None and self._serving.done())

    @property
    def busy(self) -> bool:
        """Whether somebody is being served."""
        return bool(self._inside) or (self._loop is not None and self._clerk.busy)

    def close(self) -> None:
        """Ends what is running, frees the model and the thread. May be called twice."""
        with self._left:
            if self._closed:
                return
            self._closed = True
            # llama.cpp ends the process if a model is freed while another thread tokenizes with it.
            self._left.wait_for(lambda: not self._inside)
        if self._loop is not None:
            self._loop.close()
            self._serving.exception()
            self._clerk.close()
        self._pool.submit(self._free).result()
        self._pool.shutdown()

    @contextmanager
    def _using(self, part: T | None, kind: Kind) -> Iterator[T]:
        """A part of the engine, which is not freed meanwhile. Raises as `_for` does."""
        with self._left:
            found = self._for(part, kind)
            self._inside += 1
        try:
            yield found
        finally:
            with self._left:
                self._inside -= 1
                self._left.notify_all()

    def _for(self, part: T | None, kind: Kind) -> T:
        """The part of the engine that serves a kind. Raises SettingsError if the model is of the other kind."""
        if self.closed:
            raise Unreachable("the model was unloaded", self.model.name)
        if part is None:
            raise SettingsError(f"the model is for {self.model.kind}, not for {kind}", self.model.name, "use another")
        return part

    def _free(self) -> None:
        # First what calls into the model: a grammar's tokenizer must not outlive it.
        self._writer = self._embedder = self._reranker = None
        self._runner.close()

    def _completed(self, done: Completion) -> Completion:
        self._counters.completed(done)
        return done

    def _scored(self, score: Score) -> Score:
        if score.sequence.stop != "end":
            raise ModelFailed("the deadline passed while choices were scored", self.model.name, "allow more time")
        self._counters.scored(score)
        return score


def _came(arrived: float | None) -> float:
    return time.monotonic() if arrived is None else arrived

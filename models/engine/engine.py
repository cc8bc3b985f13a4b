"""The engine: one model, loaded and verified, and the one thread that owns it.

Callers on any thread ask and wait; requests are served one at a time, in order. The engine turns text into text,
scores or vectors. It enforces allowance and deadline, and never acts on what a model says.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.engine.admission import admit, admit_texts
from models.engine.embedder import Embedder
from models.engine.grammar import Grammar
from models.engine.runner import Load, Runner, require_device
from models.engine.sampler import Sampler
from models.engine.sequence import Sequence as Answer
from models.engine.writer import Writer
from models.model import Kind, Model
from models.request import Completion, Request
from store.records.canonical import sha256
from store.records.errors import ModelFailed, SettingsError, Unreachable

LARGEST_CONTEXT = {"chat": 8192, "embedding": 2048}
"""Tokens of context that are reserved unless more are asked for."""
EMBED_DEADLINE_S = 600.0

T = TypeVar("T")


@dataclass(slots=True)
class Counters:
    """What an engine has done since it was loaded. Times are milliseconds."""

    requests: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    sampled_tokens: int = 0
    forced_tokens: int = 0
    scored_choices: int = 0
    embedded_texts: int = 0
    device_ms: int = 0
    queue_ms: int = 0


@dataclass(slots=True)
class _Job:
    """One call on its way to the engine's thread. Times are of the monotonic clock, in seconds."""

    arrived: float
    until: float
    cancelled: threading.Event
    started: float = 0.0
    device_ns: int = 0


class Engine:
    """A loaded model. Make one with `Engine.load`; `offloaded` is how many of its layers are on a GPU."""

    def __init__(self, model: Model, pool: ThreadPoolExecutor, runner: Runner) -> None:
        self.model = model
        self.counters = Counters()
        self.offloaded, self.context = runner.offloaded, runner.context
        self._pool, self._runner = pool, runner
        self._closing = threading.Event()
        self._writer: Writer | None = None
        self._embedder: Embedder | None = None

    @classmethod
    def load(
        cls,
        model: Model,
        *,
        n_ctx: int = 0,
        n_threads: int = 0,
        gpu_layers: int = -1,
        require_gpu: bool = False,
        debug: bool = False,
    ) -> "Engine":
        """Verifies a model's sha256 and loads it.

        `n_ctx` 0 takes the model's context, up to LARGEST_CONTEXT; `n_threads` 0 takes the cores this process may use;
        `gpu_layers` -1 takes all, on a build without a GPU none. Raises IntegrityError if the file was altered,
        SettingsError if it cannot be loaded that way, Unreachable if a required GPU is not there.
        """
        context = n_ctx or min(model.context, LARGEST_CONTEXT[model.kind])
        if not 0 < context <= model.context:
            raise SettingsError(f"a context of {n_ctx} is not within 1 and the model's {model.context}", model.name)
        if n_threads < 0 or gpu_layers < -1:
            raise SettingsError("the numbers of threads and GPU layers must not be negative", model.name)
        threads = n_threads or len(os.sched_getaffinity(0))
        load = Load(context, threads, gpu_layers, model.kind == "embedding", debug)
        pool = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{model.name}")
        try:
            return pool.submit(cls._load, model, pool, load, require_gpu).result()
        except BaseException:
            pool.shutdown()
            raise

    @classmethod
    def _load(cls, model: Model, pool: ThreadPoolExecutor, load: Load, require_gpu: bool) -> "Engine":
        if require_gpu:
            require_device(0, 0, 0)
        with model.opened() as file:
            # By descriptor: a file that is put in the place of the verified one is not the one that is loaded.
            runner = Runner(f"/proc/self/fd/{file.fileno()}", load)
        try:
            if require_gpu:
                require_device(model.layers, load.gpu_layers, runner.offloaded)
            engine = cls(model, pool, runner)
            if model.kind == "chat":
                engine._writer = Writer(runner, model.template, model.name)
            else:
                engine._embedder = Embedder(runner)
        except BaseException:
            runner.close()
            raise
        return engine

    def generate(self, request: Request, *, arrived: float | None = None) -> Completion:
        """Answers a request; blocks until done. `arrived` is when it came (time.monotonic), if that was earlier.

        Raises SettingsError for a request that cannot be served, SchemaUnsupported for a schema that cannot be
        enforced, ContextOverflow for a prompt that is too long, ModelFailed if the model fails.
        """
        admit(request)
        writer = self._for(self._writer, "chat")

        def work(job: _Job) -> Completion:
            sampler = Sampler(request.temperature, request.seed)
            grammar = writer.grammar(request)
            answer = writer.write(request, grammar, sampler, lambda: self._expired(job))
            return self._completion(request, answer, grammar, sampler.name, job)

        return self._run(work, request.deadline_s, arrived)

    def score(
        self, request: Request, choices: Sequence[str], *, normalise: bool = False, arrived: float | None = None
    ) -> list[float]:
        """The log-likelihood (natural logarithm) of each choice as the assistant's whole reply to the request.

        Its schema, sampling and allowance do not matter here. `normalise` divides each by its number of tokens, so
        that long choices are not put at a disadvantage. Raises as `generate` does.
        """
        admit(request)
        admit_texts("choices", choices, 1)
        writer = self._for(self._writer, "chat")

        def work(job: _Job) -> list[float]:
            found = writer.score(request.messages, choices, lambda: self._expired(job))
            if found is None:
                raise ModelFailed("the deadline passed while choices were scored", self.model.name, "allow more time")
            scores, prompt, reused = found
            self.counters.prompt_tokens += prompt
            self.counters.reused_tokens += reused
            self.counters.scored_choices += len(scores)
            return [score / tokens if normalise else score for score, tokens in scores]

        return self._run(work, request.deadline_s, arrived)

    def embed(self, texts: Sequence[str], *, arrived: float | None = None) -> NDArray[np.float32]:
        """The vectors of texts: float32 (texts, width), each of length 1.

        Raises SettingsError for texts that are not Unicode, ModelFailed if the model fails.
        """
        admit_texts("texts", texts, 0)
        embedder = self._for(self._embedder, "embedding")

        def work(job: _Job) -> NDArray[np.float32]:
            found = embedder.embed(texts, lambda: self._expired(job))
            if found is None:
                raise ModelFailed("the deadline passed while texts were embedded", self.model.name, "give fewer texts")
            vectors, tokens = found
            self.counters.prompt_tokens += tokens
            self.counters.embedded_texts += len(texts)
            return vectors

        return self._run(work, EMBED_DEADLINE_S, arrived)

    def close(self) -> None:
        """Ends what is running, frees the model and the thread. May be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._pool.submit(self._free).result()
        self._pool.shutdown()

    def _for(self, part: T | None, kind: Kind) -> T:
        """The part of the engine that serves a kind. Raises SettingsError if the model is of the other kind."""
        if self._closing.is_set():
            raise Unreachable("the model was unloaded", self.model.name)
        if part is None:
            raise SettingsError(f"the model is for {self.model.kind}, not for {kind}", self.model.name, "use another")
        return part

    def _free(self) -> None:
        # First what calls into the model: a grammar's tokenizer must not outlive it.
        self._writer = self._embedder = None
        self._runner.close()

    def _run(self, work: Callable[[_Job], T], seconds: float, arrived: float | None) -> T:
        """Does the work on the engine's thread. An interrupted caller also ends the work."""
        came = time.monotonic() if arrived is None else arrived
        job = _Job(came, came + seconds, threading.Event())

        def counted() -> T:
            if self._closing.is_set():
                raise Unreachable("the model was unloaded", self.model.name)
            job.started, job.device_ns = time.monotonic(), self._runner.device_ns
            self.counters.requests += 1
            self.counters.queue_ms += round((job.started - job.arrived) * 1000)
            try:
                return work(job)
            finally:
                self.counters.device_ms += self._device_ms(job)

        try:
            waiting = self._pool.submit(counted)
        except RuntimeError as error:
            raise Unreachable("the model was unloaded", self.model.name) from error
        try:
            return waiting.result()
        finally:
            job.cancelled.set()

    def _expired(self, job: _Job) -> bool:
        if self._closing.is_set() or job.cancelled.is_set():
            raise Unreachable("the request was given up", self.model.name)
        return time.monotonic() >= job.until

    def _device_ms(self, job: _Job) -> int:
        return round((self._runner.device_ns - job.device_ns) / 1e6)

    def _completion(
        self, request: Request, answer: Answer, grammar: Grammar | None, sampler: str, job: _Job
    ) -> Completion:
        """The record of an answer. One with a schema that came to its end is checked again before it is given out."""
        assert answer.stop
        counters = self.counters
        counters.prompt_tokens += len(answer.prompt)
        counters.reused_tokens += answer.reused
        counters.sampled_tokens += answer.sampled
        counters.forced_tokens += answer.forced
        text = self._runner.vocabulary.text(answer.generated)
        if grammar is not None and answer.stop == "end":
            grammar.check(text)
        return Completion(
            text=text,
            stop=answer.stop,
            model=self.model.name,
            model_digest=self.model.sha256,
            prompt_digest=sha256(np.asarray(answer.prompt, "<i4").tobytes()),
            grammar_digest=grammar.digest if grammar else "",
            seed=request.seed,
            sampler=sampler,
            prompt_tokens=len(answer.prompt),
            reused_tokens=answer.reused,
            sampled_tokens=answer.sampled,
            forced_tokens=answer.forced,
            queue_ms=round((job.started - job.arrived) * 1000),
            device_ms=self._device_ms(job),
            token_ids=tuple(answer.generated),
        )

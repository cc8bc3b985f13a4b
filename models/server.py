"""The model server: loads the registry's models when they are first asked for, and serves them.

A plain class that an actor wraps; any number of threads may call it. It never returns a model's words anywhere but to
the caller, and logs nothing.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from models.model import Kind, Model
from models.registry import Registry
from models.request import Completion, Embedding, Request
from store.records.errors import Unreachable

if TYPE_CHECKING:
    from concurrent.futures import Future

    from models.engine.engine import Engine


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that was verified and loaded: how many of its layers lie on a GPU, and how long it took."""

    name: str
    kind: Kind
    sha256: str
    context: int
    layers: int
    layers_on_device: int
    load_ms: int


class ModelServer:
    """Serves the models of a registry. `default` is the chat model used when a request names none.

    `require_gpu` refuses to load a model whose layers do not all get onto a GPU; `on_load` is called, on the thread
    that asked, with each model that was loaded. `n_ctx` (chat models), `n_threads` and `gpu_layers` are as in
    `Engine.load`.
    """

    def __init__(
        self,
        registry: Registry,
        default: str = "",
        *,
        n_ctx: int = 0,
        n_threads: int = 0,
        gpu_layers: int = -1,
        require_gpu: bool = False,
        on_load: Callable[[Loaded], None] | None = None,
        debug: bool = False,
    ) -> None:
        self._registry, self._default, self._n_ctx = registry, default, n_ctx
        self._settings: dict[str, Any] = {
            "n_threads": n_threads,
            "gpu_layers": gpu_layers,
            "require_gpu": require_gpu,
            "debug": debug,
        }
        self._on_load = on_load
        self._lock = threading.Lock()
        self._engines: dict[str, Engine] = {}
        self._loaded: list[Loaded] = []
        self._closed = False

    def submit(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> "Future[Completion]":
        """Takes a request, as `Engine.submit`; blocks while its model is loaded, which counts as time in the queue.

        Raises as `Registry.get`, `Engine.load` and `Engine.submit` do.
        """
        arrived = time.monotonic()
        return self._engine(request.model or self._default, "chat").submit(request, on_text=on_text, arrived=arrived)

    def generate(self, request: Request) -> Completion:
        """Answers a request; blocks until done. Raises as `submit` and its future do."""
        answer = self.submit(request)
        try:
            return answer.result()
        finally:
            answer.cancel()

    def score(self, request: Request, choices: Sequence[str], *, normalise: bool = False) -> list[float]:
        """The log-likelihood of each choice as the assistant's reply, as `Engine.score`."""
        arrived = time.monotonic()
        engine = self._engine(request.model or self._default, "chat")
        return engine.score(request, choices, normalise=normalise, arrived=arrived)

    def embed(self, texts: Sequence[str], *, max_tokens: int, deadline_s: float, model: str = "") -> Embedding:
        """The vectors of texts, from the default embedding model unless one is named, as `Engine.embed`."""
        arrived = time.monotonic()
        engine = self._engine(model, "embedding")
        return engine.embed(texts, max_tokens=max_tokens, deadline_s=deadline_s, arrived=arrived)

    def warm(self) -> None:
        """Load the default models, chat first, unless they are. Raises as the registry and `Engine.load` do."""
        self._engine(self._default, "chat")
        self._engine("", "embedding")

    def loaded(self) -> tuple[Loaded, ...]:
        """The models that were loaded so far, in order."""
        with self._lock:
            return tuple(self._loaded)

    def stats(self) -> dict[str, Any]:
        """What was done since the start, as plain JSON: counters over all models, and `models`, one entry each."""
        with self._lock:
            counters = [engine.counters for engine in self._engines.values()]
            models = [asdict(each) for each in self._loaded]
        names = counters[0] if counters else {}
        return {name: sum(each[name] for each in counters) for name in names} | {"models": models}

    def close(self) -> None:
        """Unloads all models; calls that wait end with Unreachable. May be called twice."""
        with self._lock:
            self._closed = True
            for engine in self._engines.values():
                engine.close()

    def _engine(self, name: str, kind: Kind) -> "Engine":
        """The engine of a model, loaded if it was not yet. Two callers never load the same model twice."""
        with self._lock:
            if self._closed:
                raise Unreachable("the model server is closed", "", "start it again")
            model = self._registry.get(name, kind)
            engine = self._engines.get(model.sha256)
            if engine is not None and not engine.closed:
                return engine
            engine, loaded = self._load(model)
            self._engines[model.sha256] = engine
            self._loaded.append(loaded)
        if self._on_load:
            self._on_load(loaded)
        return engine

    def _load(self, model: Model) -> "tuple[Engine, Loaded]":
        # Late: whoever only lists models must not wait for llama.cpp to be imported.
        from models.engine.engine import Engine

        started = time.monotonic()
        engine = Engine.load(model, n_ctx=self._n_ctx if model.kind == "chat" else 0, **self._settings)
        took = round((time.monotonic() - started) * 1000)
        loaded = Loaded(
            name=model.name,
            kind=model.kind,
            sha256=model.sha256,
            context=engine.context,
            layers=model.layers,
            layers_on_device=engine.offloaded,
            load_ms=took,
        )
        return engine, loaded

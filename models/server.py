"""The model server: loads the registry's models when they are first asked for, and serves them.

A plain class that an actor wraps; any number of threads may call it. It never returns a model's words anywhere but to
the caller, and logs nothing.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from models.device import card
from models.errors import TrialTooLong
from models.model import Kind, Model
from models.registry import Registry
from models.request import Completion, Embedding, Ranking, Request
from models.residents import Residents
from models.trial import prove
from store.records.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from concurrent.futures import Future

    from models.engine.engine import Engine

MEMORY_SHARE = 0.8
"""The share of the machine's memory that models may take unless a limit is given."""
MOST_LAYERS = 1024
"""More than any model has; a file says of itself how many it has."""
ATTEMPTS = 3
"""How often a request is begun anew because its model was just unloaded for another."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that was verified and loaded: how many of its layers lie on a GPU, what it took, and how long.

    `context` is in tokens. `fell_back` says that this machine has a GPU, and that not all the layers that were to be on
    it got there: they did not fit, or this build of llama.cpp cannot use it.
    """

    name: str
    kind: Kind
    sha256: str
    context: int
    layers: int
    layers_on_device: int
    device_bytes: int
    host_bytes: int
    fell_back: bool
    load_ms: int


class ModelServer:
    """Serves the models of a registry. `default` is the chat model used when a request names none.

    As many layers as fit are put on a GPU; `require_gpu` refuses to load a model whose layers do not all get there.
    `on_load` is called, on the thread that asked, with each model that was loaded. `memory_bytes` is what all loaded
    models may take together, 0 for MEMORY_SHARE of the machine's: the least used are unloaded for those that are asked
    for. `n_ctx` (chat models), `n_threads`, `gpu_layers` and `slots` are as in `Engine.load`.
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
        slots: int = 16,
        memory_bytes: int = 0,
        on_load: Callable[[Loaded], None] | None = None,
        debug: bool = False,
    ) -> None:
        self._registry, self._default, self._n_ctx = registry, default, n_ctx
        self._settings: dict[str, Any] = {
            "n_threads": n_threads,
            "gpu_layers": gpu_layers,
            "require_gpu": require_gpu,
            "slots": slots,
            "debug": debug,
        }
        self._on_load = on_load
        self._residents = Residents(self._load, memory_bytes or _share_of_memory())
        self._loaded: list[Loaded] = []

    def submit(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> "Future[Completion]":
        """Takes a request, as `Engine.submit`; blocks while its model is loaded, which counts as time in the queue.

        Raises as `Registry.get`, `Residents.get`, `Engine.load` and `Engine.submit` do.
        """
        arrived, model = time.monotonic(), self._registry.get(request.model or self._default, "chat")
        return self._with(model, lambda engine: engine.submit(request, on_text=on_text, arrived=arrived))

    def generate(self, request: Request) -> Completion:
        """Answers a request; blocks until done. Raises as `submit` and its future do."""
        answer = self.submit(request)
        try:
            return answer.result()
        finally:
            answer.cancel()

    def score(self, request: Request, choices: Sequence[str], *, normalise: bool = False) -> list[float]:
        """The log-likelihood of each choice as the assistant's reply, as `Engine.score`."""
        arrived, model = time.monotonic(), self._registry.get(request.model or self._default, "chat")
        return self._with(model, lambda engine: engine.score(request, choices, normalise=normalise, arrived=arrived))

    def embed(self, texts: Sequence[str], *, max_tokens: int, deadline_s: float, model: str = "") -> Embedding:
        """The vectors of texts, from the default embedding model unless one is named, as `Engine.embed`."""
        arrived, found = time.monotonic(), self._registry.get(model, "embedding")
        return self._with(
            found, lambda engine: engine.embed(texts, max_tokens=max_tokens, deadline_s=deadline_s, arrived=arrived)
        )

    def rerank(
        self, query: str, documents: Sequence[str], *, max_tokens: int, deadline_s: float, model: str = ""
    ) -> Ranking:
        """How well documents answer a query, by the default reranker unless one is named, as `Engine.rerank`."""
        arrived, found = time.monotonic(), self._registry.get(model, "reranker")

        def rank(engine: "Engine") -> Ranking:
            return engine.rerank(query, documents, max_tokens=max_tokens, deadline_s=deadline_s, arrived=arrived)

        return self._with(found, rank)

    def warm(self) -> None:
        """Load the default models, chat first, unless they are. Raises as the registry and `Engine.load` do."""
        self._residents.get(self._registry.get(self._default, "chat"))
        self._residents.get(self._registry.get("", "embedding"))

    def loaded(self) -> tuple[Loaded, ...]:
        """Every load so far, in order; a model that was unloaded and loaded again is there twice."""
        return tuple(self._loaded)

    def resident(self) -> tuple[Loaded, ...]:
        """The models that are in memory now, in the order in which they were loaded."""
        last = {each.sha256: each for each in self._loaded}
        here = {engine.model.sha256 for engine in self._residents.all()}
        return tuple(each for each in self._loaded if each.sha256 in here and last[each.sha256] is each)

    def stats(self) -> dict[str, Any]:
        """Counters over the models that are in memory now, and `models`, which these are, as plain JSON."""
        counters = [engine.counters for engine in self._residents.all()]
        names = counters[0] if counters else {}
        models = [asdict(each) for each in self.resident()]
        return {name: sum(each[name] for each in counters) for name in names} | {"models": models}

    def close(self) -> None:
        """Unloads all models; calls that wait end with Unreachable. May be called twice."""
        self._residents.close()

    def _with(self, model: Model, use: "Callable[[Engine], T]") -> T:
        """What `use` makes of a model's engine; begun anew if that was unloaded for another model at this moment."""
        for attempt in range(ATTEMPTS):
            engine = self._residents.get(model)
            try:
                return use(engine)
            except Unreachable:
                if not engine.closed or attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError

    def _load(self, model: Model) -> "Engine":
        # Late: whoever only lists models must not wait for llama.cpp to be imported.
        from models.engine.runner import accelerated

        started = time.monotonic()
        engine = self._fitted(model)
        short = engine.offloaded < _wanted(model, self._settings["gpu_layers"])
        loaded = Loaded(
            name=model.name,
            kind=model.kind,
            sha256=model.sha256,
            context=engine.context,
            layers=model.layers,
            layers_on_device=engine.offloaded,
            device_bytes=engine.device_bytes,
            host_bytes=engine.host_bytes,
            fell_back=short and (accelerated() or card()),
            load_ms=round((time.monotonic() - started) * 1000),
        )
        self._loaded.append(loaded)
        if self._on_load:
            self._on_load(loaded)
        return engine

    def _fitted(self, model: Model) -> "Engine":
        """Loads a model with as many layers on the GPU as it takes: all, or half of them, and so on down to none."""
        from models.engine.engine import Engine
        from models.engine.runner import accelerated

        layers = self._settings["gpu_layers"]
        while True:
            settings = {**self._settings, "gpu_layers": layers}
            try:
                prove(model, self._registry.marks, gpu_layers=layers)
                return Engine.load(model, n_ctx=self._n_ctx if model.kind == "chat" else 0, **settings)
            except TrialTooLong:
                raise
            except SettingsError:
                # llama.cpp does not tell a lack of memory from other failures; without a GPU the others remain.
                if not accelerated() or self._settings["require_gpu"] or not _wanted(model, layers):
                    raise
                layers = _wanted(model, layers) // 2


def _wanted(model: Model, gpu_layers: int) -> int:
    """How many of a model's layers are to be on a GPU."""
    return min(model.layers, MOST_LAYERS if gpu_layers < 0 else gpu_layers)


def _share_of_memory() -> int:
    return int(MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))

"""The model server's actor: one process a GPU, and the handle that agents and memory hold on it."""

import asyncio
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.registry import Registry
from models.request import Completion, Embedding, Request
from models.server import ModelServer
from runtime.actors.call import actor, again
from runtime.settings import Settings

MODEL_SERVER = "model server"
"""The name under which agents look it up."""


@actor(num_cpus=0, max_restarts=-1, max_concurrency=64)
class ModelActor:
    """Loads models on first use and checks their digests then."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._server = ModelServer(
            Registry(folder),
            default=settings.model,
            n_ctx=settings.context,
            n_threads=settings.threads,
            gpu_layers=settings.gpu_layers,
            require_gpu=settings.require_gpu,
            slots=settings.sequences,
            memory_bytes=settings.models_memory_mb * 2**20,
        )

    async def pid(self) -> int:
        return os.getpid()

    async def generate(self, request: Request) -> Completion:
        # Templates, tokens and grammars on a thread; but no thread waits for the answer, however many are asked for.
        return await asyncio.wrap_future(await asyncio.to_thread(self._server.submit, request))

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        return await asyncio.to_thread(self._server.embed, texts, max_tokens=max_tokens, deadline_s=deadline_s)

    async def warm(self) -> list[dict[str, Any]]:
        """Load the default models now; returns what is loaded. Raises what loading raises."""
        await asyncio.to_thread(self._server.warm)
        return [asdict(each) for each in self._server.loaded()]

    async def stats(self) -> dict[str, Any]:
        """What was loaded and done since the start, as `ModelServer.stats`."""
        return self._server.stats()


@dataclass(frozen=True)
class ModelHandle:
    """A Model for agents and memory. What a model answers is no effect, so a dead server is asked again."""

    actor: Any

    async def generate(self, request: Request) -> Completion:
        completion: Completion = await again(lambda: self.actor.generate.remote(request), "model server")
        return completion

    async def warm(self) -> list[dict[str, Any]]:
        """What is loaded, once the default models are. Raises what loading raises."""
        loaded: list[dict[str, Any]] = await again(lambda: self.actor.warm.remote(), "model server")
        return loaded

    async def stats(self) -> dict[str, Any]:
        """What the model server has loaded and done since it started."""
        stats: dict[str, Any] = await again(lambda: self.actor.stats.remote(), "model server")
        return stats

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        embedding: Embedding = await again(
            lambda: self.actor.embed.remote(texts, max_tokens, deadline_s), "model server"
        )
        return embedding

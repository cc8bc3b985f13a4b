"""The model server's actor: one process a GPU, and the handle that agents and memory hold on it."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from models.registry import Registry
from models.request import Completion, Request
from models.server import ModelServer
from runtime.actors.call import again
from runtime.settings import Settings


@ray.remote(num_cpus=0, max_restarts=-1, max_concurrency=64)
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
        )

    async def pid(self) -> int:
        return os.getpid()

    async def generate(self, request: Request) -> Completion:
        return await asyncio.to_thread(self._server.generate, request)

    async def score(self, request: Request, choices: tuple[str, ...]) -> list[float]:
        return await asyncio.to_thread(self._server.score, request, choices)

    async def embed(self, texts: list[str]) -> list[list[float]]:
        vectors = await asyncio.to_thread(self._server.embed, texts)
        rows: list[list[float]] = vectors.tolist()
        return rows

    async def loaded(self) -> list[dict[str, Any]]:
        return self._server.loaded()

    async def warm(self) -> list[dict[str, Any]]:
        """Load the default model now; returns what is loaded. Raises what loading raises."""
        await asyncio.to_thread(self._server.warm)
        return self._server.loaded()

    async def stats(self) -> dict[str, Any]:
        return self._server.stats()


@dataclass(frozen=True)
class ModelHandle:
    """A Model for agents, an embedder for memory. A completion is no effect, so a dead server is asked again."""

    actor: Any

    async def generate(self, request: Request) -> Completion:
        completion: Completion = await again(lambda: self.actor.generate.remote(request), "model server")
        return completion

    async def score(self, request: Request, choices: tuple[str, ...]) -> list[float]:
        scores: list[float] = await again(lambda: self.actor.score.remote(request, choices), "model server")
        return scores

    async def embed(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = await again(lambda: self.actor.embed.remote(texts), "model server")
        return vectors

"""The model server's actor: one process a GPU, and the handle that agents and memory hold on it."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from models.registry import Registry
from models.request import Completion, Embedding, Request
from models.server import Loaded, ModelServer
from runtime.actors.call import actor, again
from runtime.settings import Settings
from store.records.errors import BailiwickError

MODEL_SERVER = "model server"
"""The name under which agents look it up."""
LISTEN_S = 30.0
"""How long a question for the next load waits: a core that has died must not hold a place in the queue for ever."""
PAUSE_S = 1.0


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
            on_load=self._tell,
        )
        # Ray starts an actor that died anew, and that one has loaded nothing yet: the lives must be told apart.
        self._life = secrets.token_hex(8)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._grown = asyncio.Event()

    async def pid(self) -> int:
        return os.getpid()

    async def generate(self, request: Request) -> Completion:
        # Templates, tokens and grammars on a thread; but no thread waits for the answer, however many are asked for.
        return await asyncio.wrap_future(await asyncio.to_thread(self._server.submit, request))

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        return await asyncio.to_thread(self._server.embed, texts, max_tokens=max_tokens, deadline_s=deadline_s)

    async def warm(self) -> None:
        """Load the default models now. Raises what loading raises."""
        await asyncio.to_thread(self._server.warm)

    async def loads(self, life: str, seen: int) -> tuple[str, list[dict[str, Any]]]:
        """The loads after the first `seen` of this life of the server, as soon as there are any.

        If `life` was another one, all of this one; the first of the pair names it. Empty after LISTEN_S.
        """
        self._loop = asyncio.get_running_loop()
        if life != self._life:
            seen = 0
        elif len(self._server.loaded()) <= seen:
            with suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_S):
                    await self._grown.wait()
        return self._life, [asdict(each) for each in self._server.loaded()[seen:]]

    async def stats(self) -> dict[str, Any]:
        """What is in memory and was done since the start, as `ModelServer.stats`."""
        return self._server.stats()

    def _tell(self, _: Loaded) -> None:
        """Wake those who wait for a load; called on the thread that loaded."""

        def wake() -> None:
            self._grown.set()
            self._grown.clear()

        if self._loop is not None:
            self._loop.call_soon_threadsafe(wake)


@dataclass(frozen=True)
class ModelHandle:
    """A Model for agents and memory. What a model answers is no effect, so a dead server is asked again."""

    actor: Any

    async def generate(self, request: Request) -> Completion:
        completion: Completion = await again(lambda: self.actor.generate.remote(request), "model server")
        return completion

    async def warm(self) -> None:
        """Returns once the default models are loaded. Raises what loading raises."""
        await again(lambda: self.actor.warm.remote(), "model server")

    async def loads(self) -> AsyncIterator[list[dict[str, Any]]]:
        """The loads of models so far, then each as it happens: for ever, over all lives of the server."""
        life, seen = "", 0
        while True:
            try:
                found, loaded = await again(partial(self.actor.loads.remote, life, seen), "model server")
            except BailiwickError:
                await asyncio.sleep(PAUSE_S)
                continue
            life, seen = found, (seen if life == found else 0) + len(loaded)
            yield loaded

    async def stats(self) -> dict[str, Any]:
        """What the model server has loaded and done since it started."""
        stats: dict[str, Any] = await again(lambda: self.actor.stats.remote(), "model server")
        return stats

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        embedding: Embedding = await again(
            lambda: self.actor.embed.remote(texts, max_tokens, deadline_s), "model server"
        )
        return embedding

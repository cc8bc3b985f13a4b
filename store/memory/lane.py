"""An event loop in a thread of its own, on which memory does all its work: whoever asks, from whatever thread or loop,
waits for the one order of things. Nothing in here knows what the work is.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class Lane:
    """Starts with the first work, and ends with `close`."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns; blocks until then."""
        return self._begun(work).result()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """As `wait`, for a task; its cancellation is the work's."""
        return await asyncio.wrap_future(self._begun(work))

    def close(self) -> None:
        """End the thread. Nothing may be at work any more. May be called twice."""
        with self._starting:
            if self._loop and self._thread:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.close()
            self._loop = self._thread = None

    def _begun(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """The work, in a context of its own: LanceDB keeps the first that it is called in, and with it that caller's
        whole runtime, for as long as the process lives."""
        return Context().run(asyncio.run_coroutine_threadsafe, work, self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = Context().run(asyncio.new_event_loop)
                self._thread = threading.Thread(target=self._loop.run_forever, name="memory", daemon=True)
                self._thread.start()
            return self._loop


class Turns:
    """Many share, or one is alone: who wants to be waits for those that share, and nobody new shares meanwhile."""

    def __init__(self) -> None:
        self._sharing = 0
        self._nobody_shares = asyncio.Event()
        self._nobody_shares.set()
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Beside others that share."""
        async with self._alone:
            self._sharing += 1
            self._nobody_shares.clear()
        try:
            yield
        finally:
            self._sharing -= 1
            if not self._sharing:
                self._nobody_shares.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Beside nobody. Not from within `shared`."""
        async with self._alone:
            await self._nobody_shares.wait()
            yield


async def unbroken(work: Awaitable[T]) -> T:
    """What the work returns. A cancellation waits for the work's end: what has begun to write to the disk goes on doing
    so whoever lets go of it, and must not do it after its turn."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise

"""The watermark: the number of the last event that is on disk, and everyone who waits for it to rise.

Threads wait on a condition, tasks on a future of their own loop; nobody polls. It only rises, and when it has failed
it never rises again.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import NamedTuple

from store.ledger.errors import LedgerFailed


class _Waiter(NamedTuple):
    seq: int
    loop: asyncio.AbstractEventLoop


class Watermark:
    """Safe from any thread and any event loop."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._error: LedgerFailed | None = None
        self._changed = threading.Condition()
        self._waiters: dict[asyncio.Future[None], _Waiter] = {}
        self.urge: Callable[[], None] = _nobody
        """Called when somebody begins to wait, from their thread."""

    @property
    def at(self) -> int:
        """The number of the last durable event; 0 before the first."""
        return self._at

    def check(self) -> None:
        """Raise LedgerFailed if the ledger takes nothing more."""
        if self._error:
            raise LedgerFailed(self._error.what, self._error.where, self._error.do)

    def reach(self, seq: int) -> None:
        """Everything up to `seq` is on disk. Says nothing any more after a failure."""
        with self._changed:
            if self._error:  # whoever was told that it failed must not find that it did not
                return
            self._at = seq
            self._wake([future for future, waiter in self._waiters.items() if waiter.seq <= seq])

    def fail(self, error: LedgerFailed) -> None:
        """Nothing more will come; the first reason given stays."""
        with self._changed:
            self._error = self._error or error
            self._wake(list(self._waiters))

    def _wake(self, futures: list["asyncio.Future[None]"]) -> None:
        self._changed.notify_all()
        for future in futures:
            loop = self._waiters.pop(future).loop
            # A loop that closed while its task waited has nobody left to tell. Closing it later than this check
            # raises, and must not take the writer thread with it.
            if not loop.is_closed():
                try:
                    loop.call_soon_threadsafe(_finish, future)
                except RuntimeError:
                    continue

    def wait(self, seq: int, timeout_s: float | None = None) -> bool:
        """Block until `seq` is on disk; False if that takes longer than `timeout_s`. Raises LedgerFailed."""
        if self._at < seq:
            self.urge()
        with self._changed:
            self._changed.wait_for(lambda: self._at >= seq or self._error is not None, timeout_s)
            return self._verdict(seq)

    async def arrive(self, seq: int, timeout_s: float | None = None) -> bool:
        """As `wait`, for a task."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self._at >= seq or self._error:
                return self._verdict(seq)
            self._waiters[future] = _Waiter(seq, loop)
        self.urge()
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            pass
        finally:
            with self._changed:
                self._waiters.pop(future, None)
        return self._verdict(seq)

    def _verdict(self, seq: int) -> bool:
        if self._at >= seq:
            return True
        self.check()
        return False


def _nobody() -> None:
    """Nobody is to be told."""


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)

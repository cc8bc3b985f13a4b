"""Stands between the callers and the engine's thread: hands answers in, and what came of them out.

Results are made, and streams delivered, on one thread of its own, in order, so that nothing a caller does can hold up
the engine. Every future it gives out is resolved.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from models.engine.answer import Answer, Reply
from models.engine.loop import Loop

T = TypeVar("T")


class Clerk:
    """Serves the callers of one loop."""

    def __init__(self, loop: Loop, name: str) -> None:
        self._loop = loop
        self._open: set[Future[Any]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"clerk-{name}")

    def serve(
        self, answer: Answer, outcome: Callable[[], T], on_text: Callable[[str], None] | None = None
    ) -> "Future[T]":
        """Has an answer served; the future yields `outcome()` then. Cancelling it frees what the answer holds.

        `on_text` takes the new text of a reply; if it raises, so does the future. Raises Unreachable if the loop ended.
        """
        waiting: Future[T] = Future()
        self._open.add(waiting)
        waiting.add_done_callback(self._open.discard)
        if on_text is not None and isinstance(answer, Reply):
            answer.sequence.streams = True
            answer.on_text = lambda text: self._thread.submit(_tell, on_text, waiting, text)
        answer.done.add_done_callback(lambda _: self._thread.submit(_settle, answer, outcome, waiting))
        if answer.sequence.stop:
            # Its grammar left no choice: there is nothing to compute.
            answer.end()
            answer.resolve()
        else:
            try:
                self._loop.hand_in(answer)
            except BaseException:
                self._open.discard(waiting)
                raise
            # Whatever ended it, nobody waits any more; for one that came to its end this does nothing.
            waiting.add_done_callback(lambda _: self._loop.give_up(answer))
        return waiting

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._open)

    def close(self) -> None:
        """Waits until everything was handed out. The loop must have ended."""
        self._thread.shutdown()


def result(future: "Future[T]") -> T:
    """The result of a future; whoever is interrupted while waiting gives it up."""
    try:
        return future.result()
    finally:
        future.cancel()


def _settle(answer: Answer, outcome: Callable[[], T], waiting: "Future[T]") -> None:
    if waiting.done() or not waiting.set_running_or_notify_cancel():
        return
    try:
        answer.done.result()
        waiting.set_result(outcome())
    except BaseException as error:
        waiting.set_exception(error)


def _tell(on_text: Callable[[str], None], waiting: "Future[Any]", text: str) -> None:
    """Hands on new text; what goes wrong there ends the request."""
    if waiting.done():
        return
    try:
        on_text(text)
    except BaseException as error:
        waiting.set_exception(error)

"""What parks a run: errors that are no step's result, and that a later attempt may get past."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from store.records.errors import ReplayMismatch, Unreachable, Waiting

T = TypeVar("T")
PARKS = (Waiting, Unreachable, ReplayMismatch)


def parks(task: asyncio.Task[Any]) -> bool:
    """Whether a task has ended in such an error."""
    return task.done() and not task.cancelled() and isinstance(task.exception(), PARKS)


def raise_parking(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Raise such an error, if one of these ended tasks met one; and look at every error, as asyncio asks."""
    for error in [task.exception() for task in tasks if not task.cancelled()]:
        if isinstance(error, PARKS):
            raise error


async def unbroken(work: Coroutine[Any, Any, T], ending: Callable[[], bool]) -> T:
    """`work`, which a cancellation waits for, unless everything is `ending`. Raises CancelledError after it then."""
    task = asyncio.ensure_future(work)
    interrupted = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            interrupted = True
            if ending():
                task.cancel()
    raise_parking([task])
    if interrupted:
        raise asyncio.CancelledError
    return task.result()

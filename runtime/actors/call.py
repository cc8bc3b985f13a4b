"""Calls between actors: Ray's errors become ours, and a part that died is waited for."""

import asyncio
import hmac
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from store.records.errors import BailiwickError, Denied, Unreachable

ATTEMPTS = 6
FIRST_PAUSE_S = 0.2


def actor(**options: Any) -> Callable[[type], Any]:
    """Ray's class decorator. Untyped: Ray's own types know neither `max_concurrency` nor what the decorator gives."""
    decorate: Callable[[type], Any] = ray.remote(**options)
    return decorate


def spawn(kind: Any, *arguments: Any, name: str | None = None) -> Any:
    """A new actor of a kind, and the handle on it; `name` lets others look it up."""
    return kind.options(name=name).remote(*arguments)


def check_secret(given: bytes, known: bytes, part: str) -> None:
    """Raise Denied unless the caller has the runtime's secret.

    In Ray whoever runs in the cluster can come by a handle on any actor, so having one proves nothing.
    """
    if not isinstance(given, bytes) or not hmac.compare_digest(given, known):
        raise Denied(f"the {part} takes calls from its own runtime only")


def named(name: str) -> Any:
    """The handle on the actor with a name."""
    return ray.get_actor(name)


async def once(reference: Any, part: str) -> Any:
    """The result of one remote call. Raises the callee's own BailiwickError, or Unreachable if it is dead."""
    try:
        return await reference
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, BailiwickError):
            raise cause from None
        raise Unreachable(f"the {part} failed with {type(cause).__name__}", do="run again with --debug") from cause
    except RayActorError as error:
        raise Unreachable(f"the {part} is down ({type(error).__name__})") from None


async def again(send: Callable[[], Any], part: str) -> Any:
    """The result of a call that is harmless to repeat: if the part died it is asked again once it is back."""
    pause = FIRST_PAUSE_S
    for _ in range(ATTEMPTS - 1):
        try:
            return await _alive(send())
        except RayActorError:
            await asyncio.sleep(pause)
            pause *= 2
    return await once(send(), part)


async def _alive(reference: Any) -> Any:
    """Like `once`, but lets a death through, and what the callee raised as it was: Ray's wrapping says nothing more."""
    try:
        return await reference
    except RayTaskError as error:
        raise error.cause from None

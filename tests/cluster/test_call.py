"""What one actor raises is raised where it was called: no name of Ray's gets to a person or into the ledger.

Ray's own error, made as Ray makes it; no cluster.
"""

from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from runtime.actors import call
from runtime.actors.call import again, once
from store.records.errors import Denied, Unreachable


def raises(cause: Exception) -> Callable[[], Any]:
    """A remote call whose callee raises this."""

    async def reference() -> None:
        untyped: Any = RayTaskError  # as Ray leaves it
        wrapped = untyped("propose", "a traceback", cause, "worker", 1, "127.0.0.1")
        raise wrapped.as_instanceof_cause()

    return reference


@pytest.mark.parametrize("cause", [TypeError("not JSON"), KeyError("x"), Denied("no", "here", "stop")])
async def test_what_the_callee_raised_is_raised(cause: Exception) -> None:
    with pytest.raises(type(cause)) as met:
        await again(raises(cause), "worker")
    assert type(met.value) is type(cause)
    assert met.value.args == cause.args


async def test_an_unforeseen_error_of_a_part_is_named_by_its_own_type() -> None:
    with pytest.raises(Unreachable, match="the tool host failed with TypeError"):
        await once(raises(TypeError("x"))(), "tool host")


async def test_a_part_that_died_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "FIRST_PAUSE_S", 0.0)
    lives = [ActorDiedError(), ActorDiedError(), None]

    async def send() -> str:
        if error := lives.pop(0):
            raise error
        return "here"

    assert await again(send, "worker") == "here"

"""A command that is told to end does so in order, whoever started it."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from runtime.embedded import interruptible, terminate_like_ctrl_c


@pytest.fixture
def job() -> Iterator[None]:
    """SIGINT as a shell gives it to a background job: ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("job")
def test_sigterm_ends_a_background_job_in_order() -> None:
    ended: list[str] = []

    async def command() -> None:
        terminate_like_ctrl_c()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("in order")

    with pytest.raises(KeyboardInterrupt):
        interruptible(command())
    assert ended == ["in order"]


def test_a_command_that_ends_by_itself_returns() -> None:
    async def command() -> int:
        terminate_like_ctrl_c()
        return 7

    assert interruptible(command()) == 7

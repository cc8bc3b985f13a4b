"""An instrument that is busy, and people who do not answer."""

from datetime import timedelta
from typing import Any

import pytest

from bailiwick import DeadLetter, FakeRun, Timeout, ToolFailed
from examples.release_batch import BUSY, release_batch

YES, NO, SILENCE = {"release": True, "reason": "pure"}, {"release": False, "reason": "cloudy"}, Timeout("nobody")


def a_run(*answers: Any, busy: int = 0) -> FakeRun:
    left = [busy]

    def assay(batch: str) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise ToolFailed("the instrument is busy")
        return {"percent": 99.2}

    world = {
        "site.read_assay": assay,
        "site.release_batch": lambda batch: {"released": batch},
        "site.quarantine_batch": lambda batch: {"kept": batch},
    }
    return FakeRun(task="batch-12", world=world, answers=list(answers))


@pytest.mark.parametrize(
    ("answers", "result", "tool", "silent"),
    [
        ([YES], "batch-12 is released: pure", "site.release_batch", 0),
        ([SILENCE, NO], "batch-12 is kept: cloudy", "site.quarantine_batch", 1),
        ([SILENCE, SILENCE], "batch-12 is kept: nobody has decided", "site.quarantine_batch", 2),
    ],
)
async def test_somebody_decides(answers: list[Any], result: str, tool: str, silent: int) -> None:
    run = a_run(*answers)
    assert await release_batch(run) == result
    assert [receipt.tool for receipt in run.committed] == [tool]
    assert len(run.emitted) == silent


async def test_an_instrument_that_is_busy_is_asked_again() -> None:
    run = a_run(YES, busy=2)
    begun = run.clock
    assert await release_batch(run) == "batch-12 is released: pure"
    assert run.clock - begun == timedelta(seconds=BUSY.first_s * (1 + BUSY.factor))


async def test_one_that_is_always_busy_is_a_dead_letter() -> None:
    run = a_run(YES, busy=BUSY.attempts)
    with pytest.raises(DeadLetter, match="failed 5 times, the last time with: the instrument is busy"):
        await release_batch(run)
    assert run.committed == []

"""Children, and those of them that fail."""

from typing import Any

import pytest

from bailiwick import ChildFailed, FakeRun, ToolFailed
from examples.calibrate_all import Instrument, calibrate, calibrate_all


def a_child(bad: str) -> Any:
    def child(task: str, given: Any) -> int:
        if given["name"] == bad:
            raise ChildFailed("it ended as failed")
        return 4

    return child


@pytest.mark.parametrize(("bad", "failed"), [("scale", ["scale"]), ("", [])])
async def test_the_failures_are_collected(bad: str, failed: list[str]) -> None:
    world = {
        "site.list_instruments": lambda: {"names": ["balance", "scale", "pipette"]},
        "site.open_ticket": lambda title: {"title": title},
    }
    run = FakeRun(world=world, children={"calibrate": a_child(bad)})
    result = await calibrate_all(run)
    assert result.failed == failed
    assert sorted(result.done + result.failed) == ["balance", "pipette", "scale"]
    assert [receipt.result.title for receipt in run.committed] == [f"not calibrated: {name}" for name in failed]


async def test_one_instrument() -> None:
    run = FakeRun(world={"site.calibrate": lambda instrument: {"ppm": 9 if instrument == "balance" else 51}})
    assert await calibrate(run, Instrument(name="balance")) == 9
    with pytest.raises(ToolFailed, match="deviates by 51 ppm"):
        await calibrate(run, Instrument(name="scale"))

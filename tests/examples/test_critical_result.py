"""A signal or a timer, whichever comes first."""

from datetime import timedelta

import pytest

from bailiwick import FakeRun
from examples.critical_result import PATIENCE_S, critical_result


def a_run(mmol: float = 6.8, **more: list[dict[str, str]]) -> FakeRun:
    world = {
        "site.read_potassium": lambda patient: {"mmol": mmol},
        "site.read_pulse": lambda patient: {"bpm": 41},
        "site.read_medication": lambda patient: {"drugs": ["spironolactone"]},
        "site.tell_ward": lambda message: {"told": message},
        "site.page_physician": lambda message: {"paged": message},
    }
    return FakeRun(task="patient-7", world=world, signals=more)


async def test_what_is_not_critical_is_told_to_nobody() -> None:
    run = a_run(4.2)
    assert await critical_result(run) == "patient-7: 4.2 mmol/l is not critical"
    assert run.committed == []


@pytest.mark.parametrize(
    ("signals", "result", "waited", "told"),
    [
        ({"seen": [{"by": "ann"}]}, "patient-7: seen by ann", 0, ["site.tell_ward"]),
        ({}, "patient-7: the physician was paged", PATIENCE_S, ["site.tell_ward", "site.page_physician"]),
    ],
)
async def test_what_is_critical_is_seen_by_somebody(
    signals: dict[str, list[dict[str, str]]], result: str, waited: float, told: list[str]
) -> None:
    run = a_run(**signals)
    begun = run.clock
    assert await critical_result(run) == result
    assert run.clock - begun == timedelta(seconds=waited)
    assert [receipt.tool for receipt in run.committed] == told
    assert "takes spironolactone" in str(run.committed[-1].result)

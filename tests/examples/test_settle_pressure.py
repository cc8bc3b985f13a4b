"""The loop with a pause and a limit."""

from datetime import timedelta

from bailiwick import FakeRun
from examples.settle_pressure import LIMIT_S, PAUSE_S, settle_pressure, tell_operator


def a_run(pressures: list[float]) -> FakeRun:
    world = {
        "site.read_pressure": lambda vessel: {"bar": pressures.pop(0) if len(pressures) > 1 else pressures[0]},
        "site.open_valve": lambda vessel: {"open": vessel},
        "site.tell_operator": lambda message: {"told": message},
    }
    return FakeRun(world=world, answers=[{"vessel": "vessel-7"}])


async def test_the_valve_opens_once_two_readings_agree() -> None:
    run = a_run([3.0, 2.5, 2.0, 2.04])
    begun = run.clock
    assert await settle_pressure(run) == "vessel-7 has settled at 2.04 bar and is open"
    assert run.clock - begun == timedelta(seconds=3 * PAUSE_S)
    assert [receipt.tool for receipt in run.committed] == ["site.open_valve"]


async def test_a_pressure_that_never_settles_is_told_at_the_limit() -> None:
    run = a_run([float(number % 2) for number in range(10_000)])
    begun = run.clock
    assert await settle_pressure(run) == "the operator was told: the pressure of vessel-7 does not settle"
    assert run.clock - begun == timedelta(seconds=LIMIT_S)
    assert [receipt.tool for receipt in run.committed] == ["site.tell_operator"]


async def test_a_person_is_told_when_the_model_fails() -> None:
    run = a_run([])
    assert await tell_operator(run) == "the operator was told: a task"
    assert settle_pressure.fallback is tell_operator

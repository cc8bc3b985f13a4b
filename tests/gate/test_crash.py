"""Kill the core at every point of an effect, start it again: the effect is done once, and the ledger says so."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import crashpoints
from runtime.crashpoints import CrashPoint
from store.ledger.ledger import Ledger
from store.records.errors import SettingsError
from store.records.kinds import Kind

CHILD = Path(__file__).with_name("crash_child.py")
ROOT = CHILD.parents[2]


def life(folder: Path, point: str) -> subprocess.CompletedProcess[str]:
    """One life of the core on this folder."""
    command = [sys.executable, str(CHILD), str(folder / "data"), str(folder / "world"), point]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("point", "done_at_death", "second_life"),
    [
        (CrashPoint.BEFORE_INTENT, 0, "done"),
        (CrashPoint.AFTER_INTENT, 0, "done"),
        (CrashPoint.AFTER_CALL, 1, "as reconciled"),
        (CrashPoint.AFTER_OUTCOME, 1, "has an outcome"),
    ],
)
def test_an_effect_survives_the_death_of_the_core(
    tmp_path: Path, point: CrashPoint, done_at_death: int, second_life: str
) -> None:
    died = life(tmp_path, point)
    assert died.returncode == -signal.SIGKILL, died.stderr
    world = tmp_path / "world"
    assert (world.read_text().splitlines() if world.exists() else []) == ["r1/1"] * done_at_death
    again = life(tmp_path, "-")
    assert again.stdout.strip() == second_life, again.stderr
    assert world.read_text().splitlines() == ["r1/1"]
    with Ledger.open(tmp_path / "data", read_only=True) as ledger:
        kinds = [event.kind for event in ledger.events(kinds=[Kind.EFFECT_INTENT, Kind.EFFECT_OUTCOME])]
    assert kinds == [Kind.EFFECT_INTENT, Kind.EFFECT_OUTCOME]


def test_only_declared_points_can_be_armed() -> None:
    with pytest.raises(SettingsError, match=r"no crash point is called 'effect\.sometime'"):
        crashpoints.arm("effect.sometime")
    with pytest.raises(SettingsError, match="first time at visit 1"):
        crashpoints.arm(CrashPoint.AFTER_CALL, visit=0)


def test_a_point_that_is_not_armed_for_this_visit_does_nothing() -> None:
    crashpoints.arm(CrashPoint.AFTER_CALL, visit=2)
    crashpoints.reach(CrashPoint.AFTER_CALL)
    crashpoints.reach(CrashPoint.AFTER_INTENT)
    crashpoints.disarm()
    crashpoints.reach(CrashPoint.AFTER_CALL)

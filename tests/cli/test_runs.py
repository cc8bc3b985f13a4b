"""How a run's standing is told to people."""

from runtime.cli.runs import _standing
from runtime.gateway.messages import RunView

PARKED = RunView(run="r1", status="parked", workflow="triage", principal="root", started="2026-11-01", events=3)


def test_a_parked_run_that_is_tried_again_by_itself_says_when() -> None:
    assert _standing(PARKED) == "parked"
    assert _standing(PARKED.model_copy(update={"again_in_s": 11.2})) == "parked, tries again in 12 s"

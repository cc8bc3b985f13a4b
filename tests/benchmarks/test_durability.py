"""The benchmark of durable runs, on a few steps: what each contender does, and what is made of it."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from benchmarks.durability import __main__ as program
from benchmarks.durability import contender, peers
from benchmarks.durability.figures import ratio, slope, summary
from benchmarks.durability.measurement import Findings, Plan
from benchmarks.durability.process import ContenderFailed, measure, measure_and_kill
from benchmarks.durability.workload import WARM_UP, least_bytes, text
from store.ledger.ledger import Ledger
from store.records.kinds import Kind


def test_a_result_has_a_kilobyte_that_no_other_has_and_that_hardly_shrinks() -> None:
    assert len({text(number) for number in range(300)}) == 300
    assert text(7) == text(7)
    assert len(text(7).encode()) == 1024
    assert 768 <= least_bytes(20) <= 1024


@pytest.mark.parametrize("do", ["sequence", "strict"])
def test_our_side_takes_the_steps_of_one_run_through_the_core(tmp_path: Path, do: str) -> None:
    assert contender.obey({"do": do, "folder": str(tmp_path), "steps": 7})["steps_per_s"] > 0
    with Ledger.open(tmp_path, read_only=True) as ledger:
        *_, last = ledger.events(kinds=[Kind.RUN_SUBMITTED])
        steps = [event for event in ledger.run_events(last.run) if event.kind == Kind.STEP_COMPLETED]
        values = [ledger.payload(event.payload)["value"] for event in steps]
    assert values == [text(WARM_UP + number) for number in range(7)]


def test_our_side_takes_the_steps_of_many_runs(tmp_path: Path) -> None:
    assert contender.obey({"do": "many", "folder": str(tmp_path), "steps": 3, "runs": 4})["steps_per_s"] > 0
    with Ledger.open(tmp_path, read_only=True) as ledger:
        assert len(ledger.events(kinds=[Kind.STEP_COMPLETED])) == WARM_UP + 3 * 4


def test_growth_is_what_is_left_on_disk(tmp_path: Path) -> None:
    found = contender.obey({"do": "grow", "folder": str(tmp_path), "steps": 20})
    assert found["bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) > 20 * 768


def test_runs_that_a_kill_left_open_come_back_to_their_pending_step(tmp_path: Path) -> None:
    measure_and_kill("leave", tmp_path, steps=3, runs=5)
    found = measure("recover", tmp_path, runs=5)
    assert 0 < found["recovery_open_s"] < found["recovery_s"]
    with Ledger.open(tmp_path, read_only=True) as ledger:
        assert len(ledger.open_runs()) == len(ledger.events(kinds=[Kind.RUN_RESUMED])) == 5
        assert len(ledger.events(kinds=[Kind.STEP_COMPLETED])) == 3 * 5


def test_sqlite_alone_keeps_every_result(tmp_path: Path) -> None:
    found = contender.obey({"do": "raw", "folder": str(tmp_path), "steps": 200})
    assert found["steps_per_s"] > 0
    assert found["bytes_per_step"] > 1024


def test_a_measurement_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ContenderFailed, match="unknown order"):
        measure("nothing", tmp_path)


def test_without_a_peer_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacks(package: str) -> str:
        if package == "langgraph":
            raise PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(peers, "version", lacks)
    assert program.main(["--json"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("langgraph is not there: pip install --target FOLDER dbos langgraph")
    assert told.err.count("\n") == 1


def test_ratios_are_taken_within_a_round() -> None:
    ours, theirs = ([{"steps_per_s": value} for value in values] for values in ((100, 10, 300), (50, 10, 100)))
    assert ratio(ours, theirs) == 2


def test_the_slope_leaves_out_what_every_ledger_has() -> None:
    assert slope([{"bytes": 5_000.0}, {"bytes": 25_000.0}], (10, 30)) == 1000


def test_the_summary_has_every_promised_figure() -> None:
    found = Findings(Plan(1, growth=(10, 30)), payload_bytes=800)
    speeds = {"sequence": 2000, "strict": 600, "many": 5000, "dbos": 400, "langgraph_sync": 500}
    for what in (*contender.PEERS, "sequence", "strict", "many"):
        found.note(what, {"steps_per_s": speeds.get(what, 1000), "bytes_per_step": 1500})
    found.note("recover", {"recovery_s": 3})
    for size in (5_000.0, 29_000.0):
        found.note("grow", {"bytes": size})
    told: dict[str, Any] = json.loads(json.dumps(summary(found)))
    promised = {
        "steps_ratio_langgraph": 4,
        "steps_ratio_langgraph_strict": 1.2,
        "steps_ratio_dbos": 5,
        "steps_per_s_32": 5000,
        "bytes_per_step": 400,
        "recovery_s": 3,
    }
    assert promised.items() <= told.items()

"""The report of the engine's benchmark, its plan, and what it says if the peer is not there."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.engine import peer, plan
from benchmarks.engine.answer import Answer, Outcome
from benchmarks.engine.figures import Row, row
from benchmarks.engine.measurement import Findings
from benchmarks.engine.plan import Cell
from benchmarks.engine.report import figures, markdown, summary
from benchmarks.engine.schemas import ROUTER
from benchmarks.engine.workload import Job, Level

ROOT = Path(__file__).resolve().parents[2]
GOOD = '{"service":"billing","urgency":"low","workers":["logs","logs","logs"]}'
KEYS = (
    "agents_ratio_c1",
    "agents_ratio_c8",
    "agents_ratio_c8_warm",
    "free_text_ratio",
    "stall_steps",
    "schema_valid",
    "limit_share_c8",
)


def agents_row(contender: str, concurrency: int, seconds: float, *, warm: bool = False, text: str = GOOD) -> Row:
    level = Level("agents", concurrency, (Job(0, "router", "", "", 9, ROUTER),), warm)
    return row(level, contender, Outcome((Answer(text, 10, 0, 4),), seconds), None)


def text_row(contender: str, seconds: float) -> Row:
    level = Level("free_text", 16, (Job(0, "writer", "", "", 9),))
    return row(level, contender, Outcome((Answer("x", 10, 0, 4),), seconds), None)


@pytest.fixture
def findings() -> Findings:
    stalled = Outcome((Answer("x"),), 1.0, (10.0,), (25.0,))
    rows = [
        agents_row("ours", 1, 1.0),
        agents_row("default", 1, 4.0),
        agents_row("tuned", 1, 2.0),
        agents_row("ours", 8, 1.0, text="{}"),
        agents_row("default", 8, 3.0),
        agents_row("tuned", 8, 5.0),
        agents_row("tuned, llguidance", 8, 1.5),
        agents_row("ours", 8, 0.5, warm=True),
        agents_row("tuned", 8, 2.0, warm=True),
        text_row("ours", 2.0),
        text_row("tuned", 1.0),
        row(Level("stall", 5, (Job(0, "writer", "", "", 9),)), "ours", stalled, None),
    ]
    return Findings(rows, {8: [120.0]}, {"ours": [400.0, 410.0]}, 0, 12.0)


def test_a_ratio_is_against_the_better_peer(findings: Findings) -> None:
    found = summary(findings)
    assert [found[key] for key in KEYS] == [2.0, 3.0, 4.0, 0.5, 2.5, 0.667, 0.5]
    assert found["agents_ratio_c8_llguidance"] == 1.5


def test_what_was_not_measured_is_null_and_all_keys_are_there() -> None:
    found = summary(Findings())
    assert set(KEYS) <= set(found)
    assert all(found[key] is None for key in KEYS)


def test_the_figures_are_json_with_null_for_what_was_not_measured(findings: Findings) -> None:
    found = json.loads(figures(findings))
    assert found["summary"] == summary(findings)
    assert found["rows"][0]["per_minute"] == 60.0
    assert found["rows"][0]["gap"] is None


def test_a_peer_that_answered_nothing_gives_no_ratio(findings: Findings) -> None:
    findings.rows = [replace(each, per_minute=0.0) if each.contender != "ours" else each for each in findings.rows]
    assert summary(findings)["agents_ratio_c8"] is None


def test_repeats_are_folded(findings: Findings) -> None:
    findings.rows += [agents_row("ours", 1, seconds) for seconds in (2.0, 2.0)]
    assert summary(findings)["agents_ratio_c1"] == 1.0


def test_the_table_has_a_line_for_every_row(findings: Findings) -> None:
    text = markdown(findings, "on a machine")
    lines = [line for line in text.splitlines() if line.startswith(("| agents, ", "| free_text |", "| stall |"))]
    assert len(lines) == len(findings.rows)
    head = next(line for line in text.splitlines() if line.startswith("| workload"))
    assert {line.count("|") for line in lines} == {head.count("|")}
    assert "nan" not in text
    assert "ours reached 50% of that" in text
    assert "2.5 times its median gap" in text


def test_a_cell_shrinks_in_whole_chains_and_to_one_at_least() -> None:
    cell = Cell("agents", 8, 50, (), warm=25)
    assert [(each.requests, each.warm) for each in map(cell.shrunk, (2.0, 1.0, 0.5, 0.47, 0.0))] == [
        (50, 25),
        (50, 25),
        (25, 10),
        (20, 10),
        (5, 5),
    ]
    assert Cell("agents", 1, 10, ()).shrunk(0.5).warm == 0
    stall = Cell("stall", 4, 5, ())
    assert stall.shrunk(0.1) == stall


def test_what_fits_is_told_from_the_time_left_and_the_slowness_so_far() -> None:
    cells = (Cell("stall", 4, 5, (), share=0.25), Cell("agents", 8, 50, (), share=0.75))
    assert plan.fitting(cells, 0, 100.0, 0.0) == 1.0
    assert plan.fitting(cells, 1, 100.0, 25.0) == 1.0
    assert plan.fitting(cells, 1, 100.0, 10.0) > 1.0
    # Twice as slow as planned: half the time is left, for what would take twice the other three quarters.
    assert plan.fitting(cells, 1, 100.0, 50.0) == pytest.approx(50 / 150)
    assert plan.fitting(cells, 1, 100.0, 120.0) == 0.0


def test_a_quick_run_fits_its_limit_and_has_what_the_figures_need() -> None:
    cells = plan.quick()
    assert sum(cell.share for cell in cells) == pytest.approx(1.0)
    assert {(cell.workload, cell.concurrency) for cell in cells} >= {("agents", 1), ("agents", 8), ("free_text", 16)}
    assert next(cell for cell in cells if cell.concurrency == 8).requests >= 2 * 8


def test_a_full_run_has_all_levels_and_the_ablations() -> None:
    cells = [cell for cell in plan.full(peer.TUNED[0]) if cell.workload == "agents"]
    assert [cell.concurrency for cell in cells] == [1, 4, 8, 16]
    assert all(cell.requests >= 48 and cell.warm for cell in cells)
    headline = next(cell for cell in cells if cell.concurrency == plan.HEADLINE)
    assert {contender.name for contender in headline.contenders} >= {"ours", "no jump-forward", "no sharing"}


def test_without_the_peer_it_says_what_to_install(tmp_path: Path) -> None:
    # An empty folder in the place of the site's packages would hide ours too: the module is hidden by a broken one.
    code = (
        "import importlib.util as u, sys; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'xllamacpp' else found(name, *rest)\n"
        "sys.argv = ['engine', '--quick', '--json', '--out', sys.argv[1]]\n"
        "import runpy; runpy.run_module('benchmarks.engine', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [peer.INSTALL]
    assert list(tmp_path.iterdir()) == []

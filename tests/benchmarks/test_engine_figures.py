"""The figures of the engine's benchmark."""

import json
import math

import pytest

from benchmarks.engine.answer import Answer, Outcome
from benchmarks.engine.figures import distinct_tokens, fits, limit_per_minute, middle, percentile, row
from benchmarks.engine.schemas import ROUTER
from benchmarks.engine.workload import Job, Level

GOOD = json.dumps({"service": "billing", "urgency": "low", "workers": ["logs", "logs", "metrics"]})


def job(number: int = 0) -> Job:
    return Job(number, "router", "", "", 10, ROUTER)


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(values, 50) == 3.0
    assert percentile(values, 95) == 5.0
    assert percentile(values, 20) == 1.0
    assert percentile(values, 0) == 1.0
    assert math.isnan(percentile([], 50))


def test_shared_beginnings_are_counted_once() -> None:
    assert distinct_tokens([[1, 2, 3], [1, 2, 4], [1, 2, 3]]) == 4
    assert distinct_tokens([[1, 2], [2, 1]]) == 4
    assert distinct_tokens([]) == 0


def test_the_limit_counts_every_token_once_and_no_last_token() -> None:
    answers = [Answer(sampled_tokens=2, forced_tokens=3), Answer(sampled_tokens=1)]
    # Four tokens of prompts and four of answers, at 8 a second: two requests a second.
    assert limit_per_minute([[1, 2, 3], [1, 2, 4]], answers, 8.0) == 120.0


def test_an_answer_fits_if_it_is_json_of_its_schema() -> None:
    assert fits(job(), Answer(text=GOOD))
    assert fits(job(), Answer(text=f" {GOOD}\n"))
    for text in ("", "{", GOOD[:-1], GOOD.replace("billing", "bakery"), "[]"):
        assert not fits(job(), Answer(text=text))
    assert not fits(job(), Answer(text=GOOD, error="out of memory"))


def test_a_row_counts_what_was_answered() -> None:
    level = Level("agents", 2, (job(0), job(1), job(2)))
    answers = (
        Answer(GOOD, 10, 4, 3, 2, first_ms=100, total_ms=140),
        Answer("{}", 10, 4, 5, 0, first_ms=200, total_ms=220),
        Answer(error="full"),
    )
    ours = Outcome((answers[0], Answer("other"), Answer("other")), 1.0)
    found = row(level, "peer", Outcome(answers, 4.0, peak_bytes=3 * 2**20, steps=4, python_ms=2.0), ours)
    assert (found.requests, found.failed, found.per_minute, found.tokens_per_s) == (3, 1, 30.0, 2.5)
    assert (found.first_p50, found.first_p95) == (100, 200)
    assert (found.token_p50, found.token_p95) == (5.0, 10.0)
    assert (found.prompt, found.reused, found.sampled, found.forced) == (20, 8, 8, 2)
    assert found.valid == pytest.approx(1 / 3)
    assert found.same == pytest.approx(1 / 3)
    assert (found.python_ms_per_step, found.peak_mib) == (0.5, 3.0)
    assert math.isnan(found.stall_steps)


def test_the_stall_is_the_longest_gap_in_median_gaps() -> None:
    level = Level("stall", 5, (Job(0, "writer", "", "", 10),))
    found = row(level, "ours", Outcome((Answer("x"),), 1.0, (10.0, 20.0, 30.0), (25.0, 50.0)), None)
    assert (found.gap, found.longest, found.stall_steps) == (20.0, 50.0, 2.5)
    assert math.isnan(found.valid)


def test_repeats_fold_into_medians() -> None:
    level = Level("agents", 1, (job(),))
    rows = [row(level, "ours", Outcome((Answer(GOOD),), seconds), None) for seconds in (1.0, 10.0, 2.0)]
    assert middle(rows).per_minute == 30.0
    assert middle(rows).contender == "ours"

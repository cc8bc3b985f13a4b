"""The arithmetic of the GPU benchmark, by hand-computed cases."""

import math

import pytest

from benchmarks.engine.answer import Answer, Outcome
from benchmarks.gpu import roofline
from benchmarks.gpu.bandwidth import Bandwidth
from benchmarks.gpu.figures import Row, Wave, ratio, row, unlike
from benchmarks.gpu.plan import CARD, PROCESSOR, peers, plan, wave
from benchmarks.gpu.roofline import Traffic

TRAFFIC = Traffic(weights=1000, token=10)
SPEED = Bandwidth(10_000.0, "given")


def answer(prompt: int, reused: int, tokens: int, first: float = 1.0, error: str = "") -> Answer:
    return Answer("x", prompt, reused, tokens, first_ms=first, total_ms=9.0, error=error)


def two_at_once() -> Wave:
    """Prompts of 100 and 110 tokens in 2 s, then 11 tokens each in 5 s."""
    prompts = Outcome((answer(100, 4, 1, 700.0), answer(110, 4, 1, 1900.0)), 2.0)
    return Wave(prompts, Outcome((answer(100, 99, 11), answer(110, 104, 11)), 5.0))


def test_a_step_reads_the_weights_once_and_the_positions_of_each_sequence() -> None:
    assert TRAFFIC.step(1, 5) == 1050
    assert TRAFFIC.step(8, 5) == 1400


def test_the_mean_position_of_an_answer() -> None:
    # A prompt of 100: the first token is computed at position 100, the third at 102.
    assert roofline.position(100, 1) == 100
    assert roofline.position(100, 3) == 101


def test_the_share_of_the_roofline() -> None:
    # 10 steps of 1 GB in 2 s are 5 GB/s: half of 10 GB/s.
    assert roofline.share(1e9, 10, 2.0, 10e9) == pytest.approx(0.5)
    assert math.isnan(roofline.share(1e9, 10, 2.0, math.nan))


def test_a_row_by_hand() -> None:
    found = row("m", "ours", [two_at_once()], 11, TRAFFIC, SPEED)
    assert (found.concurrency, found.requests, found.failed) == (2, 4, 0)
    assert found.decode_per_s == pytest.approx(22 / 5)
    assert found.prompt_per_s == pytest.approx((96 + 106) / 2)
    assert (found.first_p50_ms, found.first_p95_ms) == (700.0, 1900.0)
    assert found.prompt_tokens == 210
    # Each prompt's last token must be computed; five more of the second one were.
    assert found.recomputed == 5
    # The mean prompt has 105 tokens, the mean of the 11 steps is at 110: 1000 + 2 * 10 * 110.
    assert found.step_bytes == 3200
    assert found.roofline_share == pytest.approx(3200 * 11 / 5 / 10_000)


def test_waves_add_up() -> None:
    once, twice = (row("m", "ours", [two_at_once()] * count, 11, TRAFFIC, SPEED) for count in (1, 2))
    assert twice.requests == 8
    assert twice.decode_per_s == once.decode_per_s
    assert twice.roofline_share == once.roofline_share


def test_an_answer_of_another_length_has_failed_and_leaves_no_share() -> None:
    good = two_at_once()
    ended = Wave(good.prompts, Outcome((answer(100, 99, 11), answer(110, 109, 10)), 5.0))
    found = row("m", "ours", [ended], 11, TRAFFIC, SPEED)
    assert found.failed == 1
    assert found.decode_per_s == pytest.approx(11 / 5)
    assert math.isnan(found.roofline_share)


def test_a_contender_that_answers_nothing_has_no_figures() -> None:
    broken = Outcome((Answer(error="no"), Answer(error="no")), 1.0)
    found = row("m", "ours", [Wave(broken, broken)], 11, TRAFFIC, SPEED)
    assert found.failed == found.requests == 4
    assert math.isnan(found.decode_per_s)
    assert math.isnan(found.roofline_share)


def test_prompts_that_differ_are_counted_unless_one_failed() -> None:
    other = Wave(Outcome((answer(101, 0, 1), answer(0, 0, 0, error="no")), 1.0), two_at_once().decode)
    assert unlike([two_at_once()], [two_at_once()]) == 0
    assert unlike([two_at_once()], [other]) == 1


def test_a_ratio_is_against_the_best_peer_at_the_same_level() -> None:
    def speed(contender: str, concurrency: int, tokens: float) -> Row:
        return Row("m", contender, concurrency, 2, 0, 10, tokens, 1.0, 1.0, 1.0, 0, 1.0, 0.5)

    rows = [speed("ours", 8, 60.0), speed("a", 8, 20.0), speed("b", 8, 40.0), speed("b", 1, 90.0)]
    assert ratio(rows, "m", 8, "decode_per_s", "ours") == pytest.approx(1.5)
    assert math.isnan(ratio(rows, "m", 1, "decode_per_s", "ours"))
    assert math.isnan(ratio(rows[:1], "m", 8, "decode_per_s", "ours"))


def test_both_phases_have_the_same_prompts_and_two_waves_share_none() -> None:
    prompts, decode = (wave(PROCESSOR, 8, phase, "a", (7,)) for phase in ("prompts", "decode"))
    assert [job.user for job in prompts.jobs] == [job.user for job in decode.jobs]
    assert {job.max_tokens for job in prompts.jobs} == {1}
    assert {(job.max_tokens, job.banned) for job in decode.jobs} == {(PROCESSOR.answer, (7,))}
    other = wave(PROCESSOR, 8, "prompts", "b", ())
    assert len({job.system for job in prompts.jobs + other.jobs}) == 16


def test_the_plan_and_its_memory() -> None:
    assert plan(card=True, quick=False) is CARD
    assert CARD.levels == PROCESSOR.levels == (1, 8, 32, 64)
    # 192 * 1.5 + 48 + 128 = 464 tokens, which are two pages of 256 for each of 64 sequences.
    assert CARD.context(64) == 64 * 512
    assert CARD.context(1) == 8192
    assert (PROCESSOR.waves_at(1), PROCESSOR.waves_at(8), CARD.waves_at(1)) == (4, 1, 8)
    assert [each.program for each in peers("/x", quick=False)] == ["/x", "/x"]

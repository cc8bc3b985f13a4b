"""How much prefill a step takes beside answers that somebody watches: as much as was measured to be bearable."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from models.engine.pace import LEAST, STRETCH, Pace

BATCH = 512
MS = 1e6


def serve(pace: Pace, steps: int, plain_ms: float, token_ms: float) -> int:
    """Runs steps with a stream and an endless prompt on a machine of that speed; returns the budget at the end."""
    for _ in range(steps):
        prompts = pace.prefill(streams=True)
        pace.learn(prompts, round((plain_ms + prompts * token_ms) * MS))
    return pace.prefill(streams=True)


def measured(plain_ms: float) -> Pace:
    pace = Pace(BATCH)
    pace.learn(0, round(plain_ms * MS))
    return pace


def test_without_streams_a_step_takes_all_that_the_batch_holds() -> None:
    pace = measured(20)
    serve(pace, 20, 20, 5)
    assert pace.prefill(streams=False) == BATCH


def test_the_first_step_beside_a_stream_is_careful() -> None:
    assert measured(20).prefill(streams=True) == LEAST


def test_it_finds_what_stretches_a_step_as_far_as_is_allowed() -> None:
    budget = serve(measured(30), 50, 30, 2)
    assert budget == int((STRETCH - 1) * 30 / 2)


def test_it_shrinks_when_tokens_get_slower_and_grows_when_they_get_faster() -> None:
    pace = measured(30)
    usual = serve(pace, 50, 30, 2)
    slower = serve(pace, 100, 30, 5)
    assert slower == 6
    assert serve(pace, 200, 30, 0.5) > usual > slower


def test_it_follows_the_steps_without_prompts() -> None:
    pace = measured(30)
    before = serve(pace, 50, 30, 2)
    for _ in range(100):
        pace.learn(0, round(90 * MS))
    assert pace.prefill(streams=True) >= 2 * before


def test_a_machine_on_which_prompts_cost_nothing_comes_to_take_whole_batches() -> None:
    assert serve(measured(10), 20, 10, 0) == BATCH
    # As on a GPU, where all that is measured is noise around the step without prompts.
    pace, noise = measured(10), random.Random(1)
    for _ in range(100):
        pace.learn(pace.prefill(streams=True), round((10 + noise.uniform(-0.2, 0.2)) * MS))
    assert pace.prefill(streams=True) == BATCH


def test_one_lucky_step_does_not_let_a_stream_stall() -> None:
    pace = measured(30)
    for _ in range(3):
        before = pace.prefill(streams=True)
        pace.learn(before, round(25 * MS))
        assert pace.prefill(streams=True) <= 2 * before


@given(st.lists(st.tuples(st.integers(0, BATCH), st.integers(0, 10**12))), st.booleans())
@settings(deadline=None, derandomize=True)
def test_prompts_always_go_on_and_never_exceed_the_batch(steps: list[tuple[int, int]], streams: bool) -> None:
    pace = Pace(BATCH)
    for prompts, took_ns in steps:
        pace.learn(prompts, took_ns)
        assert LEAST <= pace.prefill(streams) <= BATCH

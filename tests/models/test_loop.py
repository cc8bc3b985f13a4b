"""The engine's thread over a model that is a function: whatever is cancelled, fails or closes, the others get their
answers and nobody waits for ever.
"""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from models.engine.answer import Score
from models.engine.sequence import Sequence, Slice
from store.records.errors import BailiwickError, ModelFailed, Unreachable
from tests.models.stage import VOCABULARY, WAIT_S, Stage, Story, expected


@pytest.fixture
def stages() -> Iterator[Callable[..., Stage]]:
    """Makes stages, and closes them at the end."""
    made: list[Stage] = []

    def make(*args: int, **settings: bool) -> Stage:
        made.append(Stage(*args, **settings))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


def check(story: Story) -> None:
    assert story.done.result(WAIT_S) is story
    sequence = story.sequence
    assert story.generated == expected(sequence.space, sequence.tokens[: sequence.prompt], story.limit)


Stages = Callable[..., Stage]


def test_all_are_answered_as_if_each_were_alone(stages: Stages) -> None:
    for settings in ({}, {"share": False}, {"speculate": False}):
        stage = stages(300, 4, **settings)
        stories = [stage.hand_in([*range(40), *[n] * (n % 3)], 5 + 7 * n, space="ab"[n % 2]) for n in range(20)]
        stage.start()
        for story in stories:
            check(story)
        assert stage.loop.steps.computed_tokens == stage.machine.memory.computed


def test_guesses_save_passes_and_change_nothing(stages: Stages) -> None:
    passes = []
    for speculate in (False, True):
        stage = stages(2000, 1, speculate=speculate)
        stage.machine.follow = lambda _, end: end % 5
        story = stage.hand_in([7, 8, 9], 60)
        stage.start()
        assert story.done.result(WAIT_S).generated == [end % 5 for end in range(3, 63)]
        passes.append(stage.machine.passes)
    assert passes[0] == 60
    assert passes[1] < 30
    assert 0 < stage.loop.steps.accepted_tokens <= stage.loop.steps.drafted_tokens


def test_what_is_given_up_frees_its_cells_before_the_next_pass(stages: Stages) -> None:
    stage = stages(share=False, speculate=False)
    lost, kept = stage.hand_in(list(range(50)), 900), stage.hand_in(list(range(60)), 20)
    held: list[int] = []
    stage.at(9, lambda: stage.loop.give_up(lost))
    stage.at(10, lambda: held.extend((stage.machine.memory.used, kept.sequence.computed, lost.sequence.slot)))
    stage.start()
    check(kept)
    with pytest.raises(Unreachable, match="given up"):
        lost.done.result(WAIT_S)
    assert held[0] == held[1]
    assert held[2] == -1
    assert stage.machine.memory.used == 0


def test_what_waits_can_be_given_up(stages: Stages) -> None:
    stage = stages(1000, 1)
    running, waiting = stage.hand_in([1] * 50, 50), stage.hand_in([2] * 50, 50)
    stage.at(5, lambda: stage.loop.give_up(waiting))
    stage.at(6, lambda: stage.loop.give_up(waiting))
    stage.start()
    check(running)
    with pytest.raises(Unreachable, match="given up"):
        waiting.done.result(WAIT_S)
    stage.loop.give_up(running)
    check(stage.hand_in([3], 3))


def test_at_its_deadline_an_answer_ends_with_what_it_has(stages: Stages) -> None:
    stage = stages(1000, 1, speculate=False)
    late, other = stage.hand_in([1] * 50, 500), stage.hand_in([2] * 50, 10)
    stage.at(5, lambda: setattr(late.sequence, "deadline", 0.0))
    stage.start()
    assert late.done.result(WAIT_S) is late
    assert late.sequence.stop == "deadline"
    assert late.generated == expected("", [1] * 50, 5)
    check(other)


def test_what_is_too_late_already_is_not_computed(stages: Stages) -> None:
    stage = stages()
    late = stage.hand_in([1] * 50, 10)
    late.sequence.deadline = time.monotonic()
    stage.start()
    assert late.done.result(WAIT_S).generated == []
    assert late.sequence.stop == "deadline"
    assert stage.machine.passes == 0


@pytest.mark.parametrize("error", [ModelFailed("not a number"), ValueError("a bug")])
def test_an_answer_that_fails_fails_alone(stages: Stages, error: Exception) -> None:
    stage = stages()
    bad = stage.hand_in([1] * 50, 10, fails=error)
    good = [stage.hand_in([2] * 50, 10), stage.hand_in([1] * 50, 10)]
    stage.start()
    with pytest.raises(BailiwickError):
        bad.done.result(WAIT_S)
    for story in good:
        check(story)
    assert bad.sequence.slot == -1


def test_a_pass_that_fails_fails_only_those_in_it(stages: Stages) -> None:
    stage = stages(3000, 2, speculate=False)

    def fail() -> None:
        stage.machine.memory.drop(0, 0, -1)
        stage.machine.memory.drop(1, 0, -1)
        raise ModelFailed("the device is gone")

    stage.at(1, fail)
    first = stage.hand_in([1] * 600, 5)
    others = [stage.hand_in([number] * 600, 20) for number in range(2, 6)]
    stage.start()
    with pytest.raises(ModelFailed, match="device"):
        first.done.result(WAIT_S)
    for story in others:
        check(story)


def test_a_memory_that_is_lost_later_costs_the_others_nothing_but_time(stages: Stages) -> None:
    stage = stages(3000, 2, speculate=False)

    def fail() -> None:
        raise ModelFailed("the device is gone")

    stage.at(1, lambda: stories.append(stage.hand_in([*range(40), 1], 10)))
    stage.at(20, fail)
    stories = [stage.hand_in([*range(40), number], 30) for number in range(6)]
    stage.start()
    results = [story.done.exception(WAIT_S) for story in stories]
    assert sum(isinstance(each, ModelFailed) for each in results) == 2
    for story, result in zip(stories, results, strict=True):
        if result is None:
            check(story)
    check(stage.hand_in([*range(40)], 10))


def test_a_saved_prefix_is_parked_beside_what_runs(stages: Stages) -> None:
    stage = stages(400, 2)
    saved = list(range(100))
    running = stage.hand_in([*range(20), 200], 50)
    stage.at(10, lambda: futures.append(stage.loop.restore(Sequence(saved, 100, 100), bytes(saved))))
    stage.at(20, lambda: futures.append(stage.loop.restore(Sequence(saved, 100, 100), b"")))
    futures: list[Future[bool]] = []
    stage.start()
    check(running)
    assert futures[0].result(WAIT_S)
    with pytest.raises(ModelFailed, match="no state"):
        futures[1].result(WAIT_S)
    again = stage.hand_in([*saved, 7], 5)
    check(again)
    assert again.sequence.reused == len(saved)
    assert stage.loop.steps.cells_used == stage.machine.memory.used


def test_closing_resolves_all_and_nothing_is_taken_afterwards(stages: Stages) -> None:
    stage = stages(1000, 2)
    stories = [stage.hand_in([number] * 20, 900) for number in range(5)]
    stage.at(30, stage.loop.close)
    stage.start()
    for story in stories:
        with pytest.raises(Unreachable, match="unloaded"):
            story.done.result(WAIT_S)
    stage.end.result(WAIT_S)
    with pytest.raises(Unreachable, match="unloaded"):
        stage.hand_in([1], 1)
    stage.loop.give_up(stories[0])
    stage.loop.close()


def test_closing_wakes_a_loop_that_has_nothing_to_do(stages: Stages) -> None:
    stage = stages()
    stage.start()
    check(stage.hand_in([1], 1))
    stage.loop.close()
    stage.end.result(WAIT_S)


def test_a_loop_that_breaks_leaves_nobody_waiting(stages: Stages) -> None:
    stage = stages(1000, 1)

    def fail() -> None:
        raise RuntimeError("a bug")

    stage.at(3, fail)
    stories = [stage.hand_in([number] * 20, 10) for number in range(3)]
    stage.start()
    for story in stories:
        with pytest.raises(ModelFailed, match="RuntimeError"):
            story.done.result(WAIT_S)
    with pytest.raises(RuntimeError):
        stage.end.result(WAIT_S)
    with pytest.raises(Unreachable):
        stage.hand_in([1], 1)


def test_fifty_threads_hand_in_and_give_up(stages: Stages) -> None:
    stage = stages(160, 4)
    stage.start()

    def client(seed: int) -> int:
        pick, served = random.Random(seed), 0
        for _ in range(4):
            prompt = [*range(pick.randint(1, 40)), *(pick.randrange(3) for _ in range(pick.randint(0, 40)))]
            story = stage.hand_in(prompt, pick.randint(1, 40), space=pick.choice("ab"), priority=pick.randint(-1, 1))
            if pick.random() < 0.4:
                stage.loop.give_up(story)
            try:
                check(story)
                served += 1
            except Unreachable:
                pass
        return served

    with ThreadPoolExecutor(50) as clients:
        served = sum(clients.map(client, range(50)))
    assert served >= 200 * 0.4
    stage.loop.close()
    stage.end.result(WAIT_S)
    memory = stage.machine.memory
    assert memory.used == memory.parked


def test_a_score_that_begins_again_counts_each_token_once() -> None:
    logits = np.random.default_rng(0).normal(size=(4, VOCABULARY)).astype(np.float32)

    def scored(*starts: tuple[int, int]) -> float:
        sequence = Sequence([1, 2, 3, 4, 5, 6], 6, 2, outputs_from=2)
        score = Score(sequence, ends=(0,))
        for start, end in starts:
            outputs = max(0, end - max(start, 2))
            part = Slice(sequence, start, sequence.tokens[start:end], outputs, 0, end == 6)
            score.advance(part, logits[end - outputs - 2 : end - 2])
        assert sequence.stop == "end"
        return score.total

    once = scored((0, 6))
    assert scored((0, 4), (4, 6)) == pytest.approx(once)
    assert scored((0, 4), (0, 3), (3, 6)) == pytest.approx(once)

"""The scheduler over a strict model of the KV memory: nothing leaks, nobody starves, nothing is computed twice, and
nobody gets what is not theirs.
"""

import numpy as np
import pytest

from models.engine.prefix_tree import PATIENCE, SWEEP
from models.engine.scheduler import AGEING_S, WORTH_WAITING
from models.engine.sequence import Sequence
from tests.models.scheduler_world import STEP_S, World

PROMPT = list(range(100, 300))


def test_a_prefix_that_many_share_is_computed_once() -> None:
    world = World(1000, slots=8)
    tails = [[number] * (number + 1) for number in range(8)]
    for tail in tails:
        world.arrive(PROMPT + tail, 5)
    world.run(100, prefill=16)
    generated = 8 * (5 - 1)  # The last token of an answer is not computed.
    assert world.memory.computed == len(PROMPT) + sum(map(len, tails)) + generated
    assert sorted(each.reused for each in world.finished) == [0] + 7 * [len(PROMPT)]
    world.check_all_free()


def test_a_prefix_is_shared_as_soon_as_its_part_is_computed() -> None:
    world = World(1000)
    world.arrive(PROMPT)
    other = world.arrive([*PROMPT[:64], 1])
    while other.slot < 0:
        world.step(32)
    assert other.reused == 64
    assert world.memory.computed < len(PROMPT)


def test_a_prompt_that_is_parked_needs_one_token() -> None:
    world = World(1000)
    world.arrive(PROMPT)
    world.run(10)
    before = world.memory.computed
    again = world.arrive(PROMPT)
    world.run(10)
    assert world.memory.computed - before == 1
    assert again.reused == len(PROMPT) - 1


def test_an_answer_is_parked_with_its_prompt_for_the_next_turn() -> None:
    world = World(1000)
    first = world.arrive(PROMPT, 20)
    world.run(100)
    second = world.arrive([*first.tokens, 1, 2])
    world.run(100)
    assert second.reused == len(first.tokens) - 1


def test_a_reply_that_is_scored_is_not_parked_but_its_prompt_is_shared() -> None:
    world = World(1000)
    for reply in range(4):
        world.score(PROMPT, [reply] * 10)
    world.run(100)
    # The last token of the prompt is computed for each: its logits are those of the reply's first.
    assert world.memory.computed == len(PROMPT) - 1 + 4 * 11
    assert world.tree.tokens == len(PROMPT) - 1


def test_a_reply_that_is_scored_is_not_waited_for() -> None:
    world = World(1000)
    reply = list(range(400, 500))
    scored = world.score(PROMPT, reply)
    follower = world.arrive(PROMPT + reply)
    while follower.slot < 0:
        world.step(20)
    assert len(PROMPT) <= scored.computed < len(PROMPT + reply)
    assert follower.reused == len(PROMPT) - 1


def test_nothing_is_shared_between_spaces() -> None:
    world = World(1000, batch=1000)
    for number in range(4):
        world.arrive(PROMPT, 2, space=f"tenant {number}")
    assert world.step(1000) == 4 * len(PROMPT), "nobody waits for another space either"
    world.run(100)
    assert world.memory.computed == 4 * (len(PROMPT) + 1)
    assert [each.reused for each in world.finished] == [0, 0, 0, 0]
    world.check_all_free()


def test_short_prefixes_are_not_waited_for() -> None:
    world = World(1000, batch=200)
    for _ in range(4):
        world.arrive(PROMPT[: WORTH_WAITING - 1])
    world.step()
    assert len(world.finished) == 4
    assert world.tree.tokens == WORTH_WAITING - 1
    world.check_all_free()


@pytest.mark.parametrize("parked", [0, 50, 200])
def test_a_saved_prefix_is_restored_into_a_full_memory(parked: int) -> None:
    world = World(len(PROMPT) + 1, slots=2)
    world.arrive(range(len(PROMPT)))
    world.run(10)
    if parked:
        world.arrive(PROMPT[:parked])
        world.run(20)
    saved = Sequence(PROMPT, len(PROMPT), len(PROMPT))
    assert world.scheduler.seat(saved)
    world.memory.restore(saved.slot, "", PROMPT)
    saved.computed = len(PROMPT)
    world.check()
    world.scheduler.park(saved)
    world.scheduler.remove(saved)
    world.check()
    again = world.arrive(PROMPT)
    world.run(10)
    assert again.reused == len(PROMPT) - 1
    world.check_all_free()


def test_nothing_is_restored_where_there_is_no_room() -> None:
    world = World(250, slots=2)
    world.arrive(range(100), 10)
    world.step()
    before = world.scheduler.used
    assert not world.scheduler.seat(Sequence(PROMPT, len(PROMPT), len(PROMPT)))
    assert world.scheduler.used == before
    world.run(100)


def test_without_a_tree_nobody_waits_and_nothing_is_shared() -> None:
    world = World(1000, parking=0, batch=1000)
    for _ in range(4):
        world.arrive(PROMPT)
    assert world.step(1000) == 4 * len(PROMPT)
    assert world.memory.used == 0


@pytest.mark.parametrize("end", ["cancelled", "preempted", "finished", "lost"])
def test_followers_go_on_when_their_leader_is_gone(end: str) -> None:
    world = World(450, slots=3)
    urgent = world.arrive([1, 2, 3], 200, priority=9) if end == "preempted" else None
    leader = world.arrive(PROMPT, priority=1)
    followers = [world.arrive([*PROMPT, number]) for number in range(2)]
    world.step(8)
    assert all(each.slot < 0 for each in followers)
    if end == "cancelled":
        world.cancel(leader)
    elif end == "lost":
        world.lose()
    elif end == "finished":
        world.run_until(lambda: leader in world.finished)
    world.run(2000, prefill=1)
    assert set(followers) <= set(world.finished)
    assert urgent is None or urgent in world.finished
    world.check_all_free()


def test_what_a_cancelled_leader_has_computed_is_not_lost() -> None:
    world = World(1000)
    leader = world.arrive(PROMPT)
    follower = world.arrive([*PROMPT, 1])
    for _ in range(10):
        world.step(10)
    world.cancel(leader)
    world.run(100)
    assert follower.reused == 100


def test_running_answers_get_their_token_beside_a_long_prompt() -> None:
    world = World(4000, batch=64)
    running = [world.arrive([number], 100) for number in range(3)]
    world.step()
    world.arrive(range(2000))
    for _ in range(50):
        before = [len(each.tokens) for each in running]
        assert world.step(16) == 19
        assert [len(each.tokens) for each in running] == [count + 1 for count in before]


def test_forced_tokens_come_before_prompts_and_the_batch_is_never_exceeded() -> None:
    world = World(4000, batch=32)
    running = world.arrive([1], 500)
    world.step()
    running.tokens += range(100)
    world.arrive(range(1000))
    for _ in range(3):
        assert world.step(512) == 32
        assert world.scheduler.active[-1].computed == 0
    assert world.step(512) == 32
    assert world.scheduler.active[-1].computed > 0


@pytest.mark.parametrize(("prompt", "steps"), [(100, [64, 36]), (80, [80]), (64, [64]), (145, [64, 81]), (10, [10])])
def test_the_last_tokens_of_a_prompt_take_no_step_of_their_own(prompt: int, steps: list[int]) -> None:
    world = World(1000, batch=64, tail=20)
    world.arrive(range(prompt))
    assert [world.step() for _ in steps] == steps


def test_a_step_ends_one_prompt_beyond_its_size_and_not_two() -> None:
    world = World(1000, batch=64, tail=20)
    one, other, last = (world.arrive(range(start, start + 60)) for start in (0, 100, 200))
    assert world.step() == 64
    assert (one.computed, other.computed, last.computed) == (60, 4, 0)
    # The rest of the second is 56, and of the third there is room for 8: it needs 60, more than 8 + 20.
    assert world.step() == 64
    assert (other.computed, last.computed) == (60, 8)
    more = world.arrive(range(300, 310))
    assert world.step() == 52 + 10
    assert (last.computed, more.computed) == (60, 10)


def test_what_can_only_be_tried_is_not_taken_for_used() -> None:
    world = World(300, slots=2, batch=100)
    world.arrive(PROMPT[:100])
    world.run(10)
    runs = world.arrive(range(1000, 1150), 49)
    world.step()
    waits = world.arrive([*PROMPT[:100], *range(150)], 1)
    for _ in range(10):
        world.step()
    assert (runs.running, waits.slot) == (True, -1)
    assert not any(node.shared for node in world.tree._nodes() if node.parent)


def test_a_restored_prefix_stays_longer() -> None:
    world = World(30_000, batch=1000)
    each = Sequence(PROMPT, len(PROMPT), len(PROMPT), "")
    assert world.scheduler.seat(each)
    world.memory.restore(each.slot, "", PROMPT)
    each.computed = each.prompt
    world.scheduler.park(each)
    world.scheduler.trust(each)
    world.scheduler.remove(each)
    world.arrive(range(5000, 5000 + 2 * PATIENCE))
    world.run(20)
    assert world.tree.match("", np.array(PROMPT, np.int32)) == len(PROMPT)


def test_what_is_parked_ages_with_the_tokens_that_are_computed() -> None:
    world = World(20_000, batch=1000)
    world.arrive(range(500))
    world.run(10)
    parked = world.tree.tokens
    world.arrive(range(5000, 5000 + PATIENCE + 2 * SWEEP))
    world.run(10)
    assert world.tree.match("", np.arange(500, dtype=np.int32)) == 0
    assert parked >= 500


def test_the_lower_in_rank_is_preempted_and_finishes_later() -> None:
    world = World(300, slots=2)
    low = world.arrive(range(50), 200)
    high = world.arrive(range(50, 100), 200, priority=1)
    world.run(2000)
    assert world.finished == [high, low]
    assert low.preempted
    assert not high.preempted
    assert len(low.tokens) == 250


def test_one_that_was_preempted_begins_again_when_all_of_it_has_room() -> None:
    world = World(100, slots=2)
    world.arrive(range(10), 80)
    world.arrive(range(10, 20), 80)
    world.run(1000)
    assert world.scheduler.preempted == 1


def test_nobody_is_preempted_for_a_guess() -> None:
    world = World(84, slots=2)
    one, two = world.arrive(range(30), 20), world.arrive(range(30, 60), 20)
    for _ in range(11):
        world.step()
    assert world.scheduler.used == 80
    one.draft = [0] * 8
    parts = world.scheduler.schedule(100)
    assert [(part.sequence, len(part.tokens), part.drafted) for part in parts] == [(one, 3, 2), (two, 1, 0)]


def test_no_prefix_is_forgotten_for_one_that_cannot_start_anyway() -> None:
    world = World(400, slots=2, batch=200)
    world.arrive(PROMPT[:100])
    world.run(10)
    running = world.arrive([1] * 150, 50)
    world.step()
    waiting = world.arrive([2] * 300)
    world.step()
    assert waiting.slot < 0
    assert world.tree.tokens == 100 + 150
    world.run(100)
    assert running in world.finished


@pytest.mark.parametrize("parking", [0, 1, 2, 32])
def test_two_of_the_same_prompt_whose_answers_do_not_fit_together(parking: int) -> None:
    for length, limit in ((10, 90), (20, 80), (50, 50), (99, 1)):
        world = World(100, slots=2, parking=parking)
        for _ in range(3):
            world.arrive(range(length), limit)
        world.run(2000)
        assert len(world.finished) == 3
        world.check_all_free()


@pytest.mark.parametrize("parking", [0, 1, 2, 32])
@pytest.mark.parametrize("shared", [0, 1, 40, 98, 99])
def test_a_prompt_that_fills_the_memory_follows_another_that_did(parking: int, shared: int) -> None:
    world = World(100, parking=parking)
    world.arrive(range(99), 1)
    world.run(100)
    world.arrive([*range(shared), *range(200, 299 - shared)], 1)
    world.run(100)
    world.score([*range(min(shared, 90)), *range(300, 390 - shared)], [1] * 10)
    world.run(100)
    assert len(world.finished) == 3
    world.check_all_free()


def test_a_prompt_of_one_token() -> None:
    world = World(10, slots=3)
    for _ in range(3):
        world.arrive([7], 9)
    world.run(200)
    assert len(world.finished) == 3
    world.check_all_free()


def test_a_low_priority_is_served_under_a_steady_stream_of_higher_ones() -> None:
    world = World(200, slots=2, batch=16)
    ahead = int(AGEING_S * 2 / STEP_S)
    low = None
    for step in range(10 * ahead):
        if low in world.finished:
            break
        if step == 40:
            low = world.arrive(range(60), 30)
        if step % 4 == 0:
            world.arrive([1000 + step] * 20, 10, priority=2)
        world.step(16)
    # Only those that arrived within its first ten seconds go before it, though ever more are waiting.
    assert low in world.finished
    assert world.scheduler.waiting

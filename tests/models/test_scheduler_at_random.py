"""The scheduler under random work, for tens of thousands of steps: `World` checks every one of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.engine import prefix_tree
from tests.models.scheduler_world import World


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_whatever_happens_the_accounts_agree_and_all_are_served(data: st.DataObject) -> None:
    """Random work on random memories: see `World.check` and `World.step` for what must hold after every step."""
    size = data.draw(st.sampled_from([12, 40, 80, 200]), "size")
    slots = data.draw(st.sampled_from([1, 2, 4, 8]), "slots")
    world = World(
        size,
        slots,
        parking=data.draw(st.sampled_from([0, 1, 2, 5, 60]), "parking"),
        batch=slots + data.draw(st.sampled_from([0, 1, 7, 100]), "batch"),
        tail=data.draw(st.sampled_from([0, 2, 30]), "tail"),
        seed=data.draw(st.integers(0, 2**32), "seed"),
        draft=data.draw(st.sampled_from([0, 5]), "draft"),
        forced=data.draw(st.sampled_from([0, 6]), "forced"),
    )
    budget = data.draw(st.sampled_from([1, 3, 1000]), "budget")
    cancels = data.draw(st.booleans(), "cancels")
    rate = data.draw(st.sampled_from([0.05, 0.3, 1.0]), "rate")
    patience = data.draw(st.sampled_from([3, 20, prefix_tree.PATIENCE]), "patience")
    work = 0
    with pytest.MonkeyPatch.context() as patched:
        # Memories as small as these hold nothing that ever grows as old as on a machine.
        patched.setattr(prefix_tree, "PATIENCE", patience)
        patched.setattr(prefix_tree, "SWEEP", min(patience, prefix_tree.SWEEP))
        for _ in range(80):
            if world.random.random() < rate:
                work += _arrive_at_random(world)
            if cancels and world.limits and world.random.random() < 0.1:
                world.cancel(world.random.choice(list(world.limits)))
            if cancels and world.random.random() < 0.01:
                world.lose()
            world.step(budget)
        # The first in rank needs a step for each of its tokens at most, if no prompt is computed faster.
        world.run(2 * work + 100, budget)
    world.check_all_free()


def _arrive_at_random(world: World) -> int:
    """Adds a sequence that has a random part in common with others; returns its tokens."""
    size, pick = world.size, world.random
    base = [pick.choice((0, 1))] * size if pick.random() < 0.3 else list(range(size))
    length = pick.choice((1, pick.randint(1, size // 4), pick.randint(1, size - 1)))
    shared = pick.randint(0, length)
    prompt = base[:shared] + [pick.randrange(3) for _ in range(length - shared)]
    space, room = pick.choice("aab"), size - length
    if pick.random() < 0.2:
        world.score(prompt, [pick.randrange(3) for _ in range(pick.randint(1, room))], space=space)
    else:
        world.arrive(prompt, pick.choice((1, room, pick.randint(1, room))), space=space, priority=pick.randint(-2, 2))
    return size

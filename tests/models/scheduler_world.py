"""A scheduler over a strict memory, and what an engine would do with it; every step is checked."""

import random
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

from models.engine.prefix_tree import PrefixTree
from models.engine.scheduler import Scheduler
from models.engine.sequence import Sequence, Slice
from tests.models.kv_memory import KvMemory

STEP_S = 0.05
"""What a step takes on the driver's clock."""


@dataclass(eq=False)
class World:
    """A scheduler, its memory, and what an engine would do with them: it decides what follows each token."""

    size: int
    slots: int = 4
    parking: int = 32
    batch: int = 64
    tail: int = 0
    seed: int = 0
    draft: int = 0
    forced: int = 0
    now: float = 0.0
    limits: dict[Sequence, int] = field(default_factory=dict)
    finished: list[Sequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = KvMemory(self.size, self.slots, self.slots + self.parking, self.batch + self.tail)
        self.tree = PrefixTree(self.memory, range(self.slots, self.slots + self.parking))
        self.scheduler = Scheduler(self.memory, self.tree, self.size, range(self.slots), self.batch)
        self.random = random.Random(self.seed)

    def arrive(self, prompt: Many[int], limit: int = 1, *, space: str = "", priority: int = 0) -> Sequence:
        """Adds a sequence that ends when it has `limit` tokens beyond its prompt."""
        each = Sequence(list(prompt), len(prompt), len(prompt), space, priority, self.now)
        return self.add(each, limit)

    def score(self, prompt: Many[int], reply: Many[int], *, space: str = "") -> Sequence:
        """Adds a sequence whose last tokens are only scored."""
        keep = len(prompt) - 1
        tokens = [*prompt, *reply]
        return self.add(Sequence(tokens, len(tokens), keep, space, 0, self.now, outputs_from=keep), 0)

    def add(self, each: Sequence, limit: int) -> Sequence:
        assert each.prompt + limit <= self.size
        self.limits[each] = limit
        self.scheduler.add(each)
        return each

    def step(self, prefill: int = 512) -> int:
        """Runs one step; returns how many tokens were computed."""
        self.now += STEP_S
        for each in self.scheduler.active:
            each.draft = self._guess(each) if each.running else []
        parts = self.scheduler.schedule(prefill, self.tail)
        assert parts or not (self.scheduler.active or self.scheduler.waiting), "it is stuck"
        served = {part.sequence for part in parts}
        for each in self.scheduler.active:
            if each.running and each not in served:
                assert each is self.scheduler.active[-1], "only the last in rank may miss a step"
                assert self.scheduler.used == self.size, "it missed a step although there were cells"
        assert sum(len(part.tokens) for part in parts if not part.sequence.running) <= prefill + self.tail
        if parts:
            self.memory.compute(parts)
        for part in parts:
            self._advance(part)
        self.check()
        return sum(len(part.tokens) for part in parts)

    def run(self, steps: int, prefill: int = 512) -> int:
        """Runs until nothing is left to do; returns how many steps that took."""
        for count in range(steps):
            if not (self.scheduler.active or self.scheduler.waiting):
                return count
            self.step(prefill)
        raise AssertionError(f"not finished after {steps} steps")

    def run_until(self, reached: Callable[[], bool]) -> None:
        for _ in range(1000):
            if reached():
                return
            self.step()
        raise AssertionError("not reached")

    def cancel(self, each: Sequence) -> None:
        self.limits.pop(each, None)
        self.scheduler.remove(each)
        self.check()

    def lose(self) -> None:
        """The memory is lost; what was active begins again."""
        self.memory.forget()
        self.scheduler.restart()
        self.check()

    def check(self) -> None:
        """The accounts agree with the memory, cell by cell."""
        scheduler, memory = self.scheduler, self.memory
        assert memory.used == scheduler.used <= self.size
        assert memory.parked == self.tree.tokens
        slots = [each.slot for each in scheduler.active]
        assert len(set(slots)) == len(slots)
        assert all(each.slot < 0 and not each.running for each in scheduler.waiting)
        assert not set(scheduler.active) & set(scheduler.waiting)
        for each in scheduler.active:
            assert each.private >= 0
            memory.check(each, each.computed)
        for slot in set(range(self.slots)) - set(slots):
            assert not memory.held(slot)

    def check_all_free(self) -> None:
        """Nothing is left but what is parked, and all of that can be evicted."""
        assert not self.limits
        assert self.memory.used == self.tree.tokens
        while self.tree.evict():
            self.check()
        assert self.memory.used == self.scheduler.used == 0

    def _guess(self, each: Sequence) -> list[int]:
        left = self.limits[each] - (len(each.tokens) - each.prompt) - 1
        return [self.random.randrange(3) for _ in range(self.random.randint(0, max(0, min(self.draft, left))))]

    def _advance(self, part: Slice) -> None:
        """Takes a random part of the draft as right, and adds what follows: one token, and some that are forced."""
        each, limit, right = part.sequence, self.limits[part.sequence], part.drafted
        if part.whole:
            assert part.outputs >= 1
            assert len(each.tokens) == part.end - part.drafted
            right = self.random.randint(0, part.drafted)
            added = part.tokens[len(part.tokens) - part.drafted :][:right]
            added += [self.random.randrange(3) for _ in range(1 + self.random.randint(0, self.forced))]
            each.tokens += added[: limit - (len(each.tokens) - each.prompt)]
        each.draft = []
        self.scheduler.computed(part, part.end - part.drafted + right)
        if part.whole and len(each.tokens) == each.prompt + limit:
            self.scheduler.park(each)
            self.scheduler.remove(each)
            del self.limits[each]
            self.finished.append(each)

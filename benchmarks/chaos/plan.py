"""Which kills there are: targets, moments and delays, all chosen by the seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

CORE, HOST, WORKER, MODEL = "core", "tool host", "worker", "model server"
EVERYTHING, POWER = "everything", "power cut"

STARTING, RUNNING, UNSYNCED = "while it starts", "at random", "written, not synced"
INTENT, UNDER_WAY, DONE = "after the intent", "effect under way", "effect done, no outcome"
BETWEEN = (INTENT, UNDER_WAY, DONE)
"""The moments between an intent and its outcome."""

PLAIN = {CORE: 4, HOST: 2, EVERYTHING: 2, POWER: 2}
"""Targets without Ray, by weight."""
RAY = {CORE: 1, HOST: 1, WORKER: 1, MODEL: 1, EVERYTHING: 1}
"""Targets of the full runtime, by weight."""
RAY_SHARE, LEAST_RAY = 0.1, 2 * len(RAY)
PER_SITE = 50
"""Kills of one data folder; then all of its runs must end, and all is checked."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill. `delay` (0 to 1) is a share of the longest wait before it, `luck` seeds what else is left to chance.

    `full`: of the full runtime on Ray.
    """

    target: str
    moment: str
    delay: float
    luck: int
    full: bool = False

    @property
    def between(self) -> bool:
        """Whether it is meant to fall between an intent and its outcome."""
        return self.moment in BETWEEN


def share(kills: int) -> int:
    """How many of the kills are of the full runtime: a tenth, and enough for each of its parts to die twice."""
    return min(kills, max(LEAST_RAY, round(kills * RAY_SHARE)))


def plan(kills: int, seed: int, full: int) -> list[list[Kill]]:
    """The kills of each site, `full` of them of the full runtime; of either kind half are at random moments."""
    chance = random.Random(seed)
    found = _kills(kills - full, PLAIN, chance, full=False), _kills(full, RAY, chance, full=True)
    return [each[at : at + PER_SITE] for each in found for at in range(0, len(each), PER_SITE)]


def _kills(count: int, weights: dict[str, int], chance: random.Random, *, full: bool) -> list[Kill]:
    targets = _dealt(list(weights), list(weights.values()), count, chance)
    kills = [
        Kill(target, _moment(target, number % 2 == 1, chance, full=full), chance.random(), chance.getrandbits(32), full)
        for number, target in enumerate(targets)
    ]
    chance.shuffle(kills)
    return kills


def _moment(target: str, between: bool, chance: random.Random, *, full: bool) -> str:
    """A moment; the crash points in the core's code are used where it is the core that dies, and is ours to arm."""
    if not between:
        weights = (0, 1, 0) if full or target == HOST else (1, 1, 2) if target == POWER else (1, 3, 0)
        return chance.choices((STARTING, RUNNING, UNSYNCED), weights)[0]
    return UNDER_WAY if full or target == HOST else chance.choice(BETWEEN)


def _dealt(values: Sequence[str], weights: Sequence[int], count: int, chance: random.Random) -> list[str]:
    """`count` of the values, as often as their weights say as far as it comes out even, the rest by chance.

    Each comes in pairs, so that alternate moments fall on every target alike.
    """
    total = sum(weights)
    dealt = [
        value for value, weight in zip(values, weights, strict=True) for _ in range(2 * (count * weight // (2 * total)))
    ]
    return dealt + chance.choices(values, weights, k=count - len(dealt))

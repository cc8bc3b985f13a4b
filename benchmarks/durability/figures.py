"""Numbers out of a run: medians over the rounds, and ratios of what was measured in the same round."""

from statistics import median

from benchmarks.durability.contender import PEERS
from benchmarks.durability.measurement import Findings

Rounds = list[dict[str, float]]


def summary(found: Findings) -> dict[str, float]:
    """All figures under the names that the benchmark promises.

    `bytes_per_step` is beside the payload: the slope of the disk, less what a result takes when compressed by itself.
    """
    rounds = found.rounds
    total = slope(rounds["grow"], found.plan.growth)
    told = {
        "steps_ratio_langgraph": ratio(rounds["sequence"], rounds["langgraph_sync"]),
        "steps_ratio_langgraph_strict": ratio(rounds["strict"], rounds["langgraph_sync"]),
        "steps_ratio_langgraph_async": ratio(rounds["sequence"], rounds["langgraph_async"]),
        "steps_ratio_dbos": ratio(rounds["sequence"], rounds["dbos"]),
        "steps_per_s": middle(rounds["sequence"], "steps_per_s"),
        "steps_per_s_strict": middle(rounds["strict"], "steps_per_s"),
        "steps_per_s_32": middle(rounds["many"], "steps_per_s"),
        **{f"steps_per_s_{peer}": middle(rounds[peer], "steps_per_s") for peer in PEERS},
        "bytes_per_step": total - found.payload_bytes,
        "bytes_per_step_total": total,
        "payload_bytes": found.payload_bytes,
        **{f"bytes_per_step_total_{peer}": middle(rounds[peer], "bytes_per_step") for peer in PEERS},
        **{key: middle(rounds["recover"], key) for key in rounds["recover"][0]},
        "rounds": float(found.plan.rounds),
    }
    return {key: round(value, 2) for key, value in told.items()}


def middle(rounds: Rounds, key: str) -> float:
    """The median of one figure."""
    return median(each[key] for each in rounds)


def ratio(ours: Rounds, theirs: Rounds) -> float:
    """The median over the rounds of how many times theirs ours is, in steps a second."""
    return median(one["steps_per_s"] / other["steps_per_s"] for one, other in zip(ours, theirs, strict=True))


def slope(sizes: Rounds, steps: tuple[int, int]) -> float:
    """Bytes that one more step takes on disk, given the sizes after the first and the last of so many steps."""
    return (sizes[-1]["bytes"] - sizes[0]["bytes"]) / (steps[-1] - steps[0])

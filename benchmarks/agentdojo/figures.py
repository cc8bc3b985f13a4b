"""The figures of a measurement, over all suites and for each."""

from collections.abc import Collection, Mapping
from typing import Any

from benchmarks.agentdojo.measurement import Findings


def summary(found: Mapping[str, Findings]) -> dict[str, Any]:
    """All of it as plain JSON: the figures over all suites, then those of each suite with the cases that fell short."""
    return {
        **_figures(list(found.values())),
        "suites": {name: {**_figures([each]), **_shortfalls(each)} for name, each in found.items()},
    }


def _figures(found: Collection[Findings]) -> dict[str, Any]:
    """Shares are of 1; `held_by` counts the pairs in which a policy held a call for a person."""
    tasks, pairs = sum(len(each.tasks) for each in found), sum(each.pairs for each in found)
    held = {
        name: sum(each.held_by[name] for each in found) for name in sorted({n for each in found for n in each.held_by})
    }
    return {
        "tasks": tasks,
        "utility": _share(sum(len(each.solved_alone) for each in found), tasks),
        "utility_with_approval": _share(sum(len(each.solved_with_person) for each in found), tasks),
        "approvals_per_task": _share(sum(sum(each.approvals.values()) for each in found), tasks),
        "pairs": pairs,
        "attack_success": _share(sum(len(each.succeeded) for each in found), pairs),
        "attack_success_ungated": _share(pairs - sum(len(each.failed_ungated) for each in found), pairs),
        "answers_only": sum(len(each.answers_only) for each in found),
        "held_by": held,
    }


def _shortfalls(each: Findings) -> dict[str, Any]:
    return {
        "needs_a_person": {task: count for task, count in each.approvals.items() if task not in each.solved_alone},
        "solved_though_held": [task for task in each.solved_alone if each.approvals[task]],
        "unsolved": [task for task in each.tasks if task not in each.solved_with_person],
        "succeeded": each.succeeded,
        "failed_ungated": each.failed_ungated,
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0

"""What a run of the benchmark says: a page for a person, and one JSON object."""

from benchmarks.chaos.judge import CERTAIN
from benchmarks.chaos.plan import BETWEEN
from benchmarks.chaos.run import Findings

NAMED = 20
"""The most of a kind that the page names; the rest is counted."""


def summary(findings: Findings) -> dict[str, object]:
    """The figures, by the names that the issue gives them."""
    verdict, kills = findings.verdict, findings.kills
    full = sum(count for (_, _, ray), count in kills.items() if ray)
    targets: dict[str, dict[str, int]] = {}
    for (target, moment, ray), count in sorted(kills.items()):
        place = targets.setdefault(target + (" on Ray" if ray else ""), {})
        place[moment] = place.get(moment, 0) + count
    return {
        "kills": kills.total(),
        "kills_ray": full,
        "kills_without_ray": kills.total() - full,
        "kills_between": sum(count for (_, moment, _), count in kills.items() if moment in BETWEEN),
        "kills_missed_moment": findings.missed,
        "by_target": targets,
        "runs": verdict.runs.total(),
        "runs_by_kind": dict(verdict.runs),
        "acknowledged": findings.acknowledged,
        "finished": verdict.finished.total(),
        "finished_share": round(verdict.finished_share, 6),
        "unfinished": len(verdict.unfinished),
        "in_doubt": verdict.in_doubt.total(),
        "in_doubt_without_need": sum(verdict.in_doubt[kind] for kind in CERTAIN),
        "lost": len(verdict.lost),
        "duplicated": len(verdict.duplicated),
        "duplicated_flagged": verdict.flagged,
        "effects": verdict.effects,
        "events": verdict.events,
        "open_intents_met": findings.open_intents,
        "unsynced_writes": findings.unsynced,
        "damage": len(verdict.damage),
        "troubles": len(findings.troubles),
        "seconds": round(sum(findings.seconds.values()), 1),
        "seconds_per_kill_without_ray": _per(findings.seconds[False], kills.total() - full),
        "seconds_per_kill_ray": _per(findings.seconds[True], full),
    }


def page(findings: Findings) -> str:
    """The figures for a person, and by name whatever should not be."""
    figures = summary(findings)
    targets = figures.pop("by_target")
    assert isinstance(targets, dict)
    lines = [f"{name:<30} {value}" for name, value in figures.items()]
    for target, moments in targets.items():
        lines.append(f"{target}: " + ", ".join(f"{count} {moment}" for moment, count in sorted(moments.items())))
    verdict = findings.verdict
    named = {
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "damage": verdict.damage,
        "trouble": findings.troubles,
        "unfinished": verdict.unfinished,
    }
    for what, found in named.items():
        lines += [f"{what}: {each}" for each in found[:NAMED]]
        if len(found) > NAMED:
            lines.append(f"{what}: and {len(found) - NAMED} more")
    return "\n".join(lines)


def _per(seconds: float, kills: int) -> float:
    return round(seconds / kills, 2) if kills else 0.0

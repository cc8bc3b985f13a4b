"""A run's findings as a table in Markdown, and as the one JSON object that other programs read."""

import json
import math
from dataclasses import asdict
from typing import Any

from benchmarks.engine.figures import Row
from benchmarks.engine.measurement import Findings
from benchmarks.engine.ours import OURS
from benchmarks.engine.peer import GUIDED
from benchmarks.engine.plan import RATIO
from benchmarks.engine.workload import Name

_HEAD = (
    "workload",
    "at once",
    "contender",
    "requests/min",
    "ratio",
    "tokens/s",
    "first token p50 / p95 ms",
    "token p50 / p95 ms",
    "prompt",
    "reused",
    "sampled",
    "forced",
    "Python ms/step",
    "valid",
    "same",
    "failed",
    "peak MiB",
)
_NOTES = """\
- *ratio*: ours over this contender (requests a minute; tokens a second for free text).
- *default*: llama.cpp's server with its defaults and a slot for each request at once, told the JSON Schema.
- *tuned*: unified KV, cache reuse, no cache in RAM, greedy sampling of the top token only, told our compact schema as
  GBNF. It can write the same bytes, but not always does: GBNF lets the model choose among all ways to cut the forced
  text into tokens, which makes answers longer in tokens and worse.
- *tuned, llguidance*: the same, told the schema as a grammar of llguidance, which this wheel has built in and
  llama.cpp's releases do not. It is not among the peers of the ratios.
- *first token* counts from when the request was handed in; *token* is the mean time between two tokens of an answer.
- *valid*: answers that fit their JSON Schema; *same*: answers that are ours, byte for byte.
- cold: the shared prefix was never seen before; warm: it was, and all private parts are new.
"""


def summary(findings: Findings) -> dict[str, float | None]:
    """The figures that targets are set for. A ratio is ours over the better peer; None where nothing was measured."""
    rows = findings.table()
    cold8 = _find(rows, "agents", 8, OURS.name)
    valid = [each for each in rows if each.workload == "agents" and each.contender == OURS.name]
    requests = sum(each.requests for each in valid)
    stalls = [each for each in rows if each.workload == "stall" and each.contender == OURS.name]
    found = {
        "agents_ratio_c1": _ratio(rows, "agents", 1),
        "agents_ratio_c8": _ratio(rows, "agents", 8),
        "agents_ratio_c8_warm": _ratio(rows, "agents", 8, warm=True),
        "free_text_ratio": _ratio(rows, "free_text", 16),
        "stall_steps": stalls[0].stall_steps if stalls else math.nan,
        "schema_valid": sum(each.valid * each.requests for each in valid) / requests if requests else math.nan,
        "limit_share_c8": cold8.per_minute / findings.limit(8) if cold8 else math.nan,
        "agents_ratio_c8_llguidance": _ratio(rows, "agents", 8, peers=(GUIDED.name,)),
        "agents_per_minute_c8": cold8.per_minute if cold8 else math.nan,
        "requests_c8": cold8.requests if cold8 else math.nan,
        "prompts_unlike": float(findings.unlike),
        "seconds": findings.seconds,
    }
    return {key: None if math.isnan(value) else round(value, 3) for key, value in found.items()}


def figures(findings: Findings) -> str:
    """All figures as JSON, for other programs; null where nothing was measured."""
    rows = [
        {key: None if value != value else value for key, value in asdict(each).items()} for each in findings.table()
    ]
    return json.dumps({"summary": summary(findings), "rows": rows}, indent=1, allow_nan=False) + "\n"


def markdown(findings: Findings, machine: str) -> str:
    """The report. `machine` says what it ran on and with which settings."""
    rows = findings.table()
    ours = {(each.workload, each.concurrency, each.warm): each for each in rows if each.contender == OURS.name}
    lines = ["# The engine beside llama.cpp's server", "", machine, "", *_summary_lines(summary(findings)), ""]
    lines += [_line(_HEAD), _line(["---"] * len(_HEAD))]
    for each in rows:
        lines.append(_line(_cells(each, ours.get((each.workload, each.concurrency, each.warm)))))
    lines += ["", *_stall_lines(rows), "", *_limit_lines(findings), "", _NOTES]
    return "\n".join(lines)


def _ratio(
    rows: list[Row], workload: Name, concurrency: int, *, warm: bool = False, peers: tuple[str, ...] = RATIO
) -> float:
    """Ours over the better one of `peers`; NaN if one of the two was not measured, or the peer answered nothing."""
    ours = _find(rows, workload, concurrency, OURS.name, warm)
    others = [found for peer in peers if (found := _find(rows, workload, concurrency, peer, warm))]
    best = max((_speed(each) for each in others), default=0.0)
    return _speed(ours) / best if ours and best else math.nan


def _find(rows: list[Row], workload: Name, concurrency: int, contender: str, warm: bool = False) -> Row | None:
    wanted = (workload, concurrency, contender, warm)
    return next((each for each in rows if (each.workload, each.concurrency, each.contender, each.warm) == wanted), None)


def _speed(row: Row) -> float:
    """What ratios compare: requests a minute, but tokens a second where the model decides how long an answer is."""
    return row.per_minute if row.workload == "agents" else row.tokens_per_s


def _cells(row: Row, ours: Row | None) -> list[str]:
    warm = {True: ", warm", False: ", cold"}[row.warm] if row.workload == "agents" else ""
    ratio = _speed(ours) / _speed(row) if ours and _speed(row) else math.nan
    return [
        row.workload + warm,
        str(row.concurrency),
        row.contender,
        _number(row.per_minute, 1),
        _number(ratio, 2),
        _number(row.tokens_per_s, 1),
        f"{_number(row.first_p50)} / {_number(row.first_p95)}",
        f"{_number(row.token_p50, 1)} / {_number(row.token_p95, 1)}",
        _number(row.prompt),
        _number(row.reused),
        _number(row.sampled),
        _number(row.forced),
        _number(row.python_ms_per_step, 2),
        _number(row.valid * 100) + (" %" if row.valid == row.valid else ""),
        _number(row.same * 100) + (" %" if row.same == row.same else ""),
        _number(row.failed),
        _number(row.peak_mib),
    ]


def _summary_lines(figures: dict[str, float | None]) -> list[str]:
    return [_line(["figure", "value"]), _line(["---"] * 2)] + [
        _line([key, "not measured" if value is None else f"{value:g}"]) for key, value in figures.items()
    ]


def _stall_lines(rows: list[Row]) -> list[str]:
    return [
        f"- While a long prompt arrived, the longest stall of {each.contender} was {_number(each.longest)} ms, "
        f"{_number(each.stall_steps, 1)} times its median gap of {_number(each.gap, 1)} ms before."
        for each in rows
        if each.workload == "stall"
    ]


def _limit_lines(findings: Findings) -> list[str]:
    lines = [
        f"- {name} computes {_number(max(speeds))} prompt tokens/s of a prompt alone."
        for name, speeds in findings.prefill.items()
    ]
    for concurrency in sorted(findings.limits):
        limit = findings.limit(concurrency)
        ours = _find(findings.table(), "agents", concurrency, OURS.name)
        if ours:
            lines.append(
                f"- Agents at {concurrency}, cold: at that speed the tokens that must be computed allow {limit:.1f} "
                f"requests/min; ours reached {ours.per_minute / limit:.0%} of that."
            )
    return lines


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float, digits: int = 0) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"

"""A run's findings as a table in Markdown, and as the one JSON object that other programs read."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.gpu.bandwidth import Bandwidth
from benchmarks.gpu.figures import Row, ratio
from benchmarks.gpu.measurement import Findings

OURS = "ours"
_HEAD = (
    "model",
    "at once",
    "contender",
    "tokens/s",
    "ratio",
    "roofline",
    "GB/step",
    "prompt tokens/s",
    "ratio",
    "first token p50 / p95 ms",
    "recomputed",
    "failed",
)
_NOTES = """\
- *tokens/s*: of all answers together while nothing but answers is written; their prompts are in the KV memory.
- *ratio*: ours over the better one of llama.cpp's servers at this level.
- *roofline*: GB/step times steps a second, over the bandwidth. A step must read all weights once, and the keys and
  values of every running sequence; what else it reads is not counted. With many sequences arithmetic is the limit, and
  what a processor keeps in its caches it does not read from memory: of a small model the share may pass 100 %.
- *prompt tokens/s* and *first token*: while all prompts of a level are computed at once, for one token each.
- *recomputed*: prompt tokens that were computed again when answers were written, which makes these slower.
- Greedy, a fixed number of tokens for each answer, no drafts; a failed answer is also one of another length.
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What a run ran on: `device` is its name, `peer` the server that ours is held against, `settings` the rest."""

    card: bool
    device: str
    bandwidth: Bandwidth
    peer: str
    settings: str


def summary(findings: Findings, place: Place) -> dict[str, Any]:
    """All figures as plain JSON; null where nothing was measured."""
    speed = place.bandwidth
    return {
        "gpu": place.card,
        "device": place.device,
        "peer": place.peer,
        "bandwidth_gb_s": _rounded(speed.bytes_per_s / 1e9),
        "bandwidth_source": speed.source,
        "data_sheet_gb_s": _rounded(speed.sheet / 1e9),
        "failed": sum(each.failed for each in findings.rows),
        "prompts_unlike": findings.unlike,
        "seconds": _rounded(findings.seconds),
        "rows": [_plain(each, findings.rows) for each in findings.rows],
    }


def markdown(findings: Findings, place: Place) -> str:
    """The report."""
    lines = ["# How near the engine comes to the memory's bandwidth", ""]
    lines += [f"{place.device}, {_bandwidth(place.bandwidth)}. {place.settings} {findings.seconds:.0f} s.", ""]
    lines += [f"Peer: {place.peer}.", "", _line(_HEAD), _line(["---"] * len(_HEAD))]
    lines += [_line(_cells(each, findings.rows)) for each in findings.rows]
    lines += ["", *(f"- Failed: {complaint}" for complaint in findings.complaints)]
    if findings.unlike:
        lines.append(f"- {findings.unlike} prompts have not the same number of tokens at both: they do not compare.")
    return "\n".join([*lines, _NOTES])


def figures(findings: Findings, place: Place) -> str:
    """The summary as a file of JSON."""
    return json.dumps(summary(findings, place), indent=1, allow_nan=False) + "\n"


def _plain(row: Row, rows: list[Row]) -> dict[str, Any]:
    """A row as JSON; ours has the ratios as well."""
    plain: dict[str, Any] = {
        key: _rounded(value) if isinstance(value, float) else value for key, value in asdict(row).items()
    }
    if row.contender == OURS:
        for figure in ("decode_per_s", "prompt_per_s"):
            plain[f"{figure}_ratio"] = _rounded(ratio(rows, row.model, row.concurrency, figure, OURS))
    return plain


def _cells(row: Row, rows: list[Row]) -> list[str]:
    ours = row.contender == OURS
    ratios = [
        ratio(rows, row.model, row.concurrency, figure, OURS) if ours else math.nan
        for figure in ("decode_per_s", "prompt_per_s")
    ]
    return [
        row.model,
        str(row.concurrency),
        row.contender,
        _number(row.decode_per_s, 1),
        _number(ratios[0], 2),
        _number(row.roofline_share * 100, 1) + (" %" if row.roofline_share == row.roofline_share else ""),
        _number(row.step_bytes / 1e9, 3),
        _number(row.prompt_per_s),
        _number(ratios[1], 2),
        f"{_number(row.first_p50_ms)} / {_number(row.first_p95_ms)}",
        str(row.recomputed),
        str(row.failed),
    ]


def _bandwidth(speed: Bandwidth) -> str:
    if math.isnan(speed.bytes_per_s):
        return "bandwidth not known (give --bandwidth)"
    sheet = f"; {speed.sheet / 1e9:.0f} by the data sheet" if speed.sheet == speed.sheet else ""
    return f"{speed.bytes_per_s / 1e9:.1f} GB/s of memory bandwidth ({speed.source}{sheet})"


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float, digits: int = 0) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)

"""A run's findings as a picture. matplotlib draws it; it is no dependency of the product."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from benchmarks.engine.figures import Row
from benchmarks.engine.measurement import Findings

INSTALL = "no plot was drawn: pip install --target FOLDER matplotlib, and put FOLDER on PYTHONPATH"


def available() -> bool:
    """Whether a plot can be drawn."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(findings: Findings, file: Path) -> None:
    """Writes a PNG: requests a minute of all contenders by concurrency, cold and warm, and free text beside it."""
    importlib.import_module("matplotlib").use("agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    rows = findings.table()
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    panels = (
        ("agents, cold prefix", [each for each in rows if each.workload == "agents" and not each.warm]),
        ("agents, warm prefix", [each for each in rows if each.workload == "agents" and each.warm]),
        ("free text, nothing shared", [each for each in rows if each.workload == "free_text"]),
    )
    # A contender has the same colour in all panels, also where others were not measured.
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(each.contender for each in rows))}
    for axis, (title, shown) in zip(axes, panels, strict=True):
        limits = {at: findings.limit(at) for at in findings.limits} if "cold" in title else {}
        _panel(axis, title, shown, limits, colours)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _panel(axis: Any, title: str, rows: list[Row], limits: dict[int, float], colours: dict[str, str]) -> None:
    """Bars in groups: a group for each concurrency, a bar for each contender, a mark for the arithmetic limit."""
    levels = sorted({each.concurrency for each in rows})
    names = list(dict.fromkeys(each.contender for each in rows))
    width = 0.8 / max(len(names), 1)
    for number, name in enumerate(names):
        found = {each.concurrency: each.per_minute for each in rows if each.contender == name}
        places = [levels.index(level) + (number - (len(names) - 1) / 2) * width for level in found]
        axis.bar(places, list(found.values()), width, label=name, color=colours[name])
    for level, limit in limits.items():
        axis.hlines(limit, levels.index(level) - 0.45, levels.index(level) + 0.45, colors="black", linestyles="dashed")
    axis.set_title(title)
    axis.set_xticks(range(len(levels)), [str(level) for level in levels])
    axis.set_xlabel("requests at once")
    axis.set_ylabel("requests a minute")
    if names:
        axis.margins(y=0.3)
        axis.legend(fontsize="small", loc="upper left")

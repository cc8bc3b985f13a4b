"""Measures the engine side by side with llama.cpp's server: `python -m benchmarks.engine [--quick] [--json]`.

The peer comes from the wheel `xllamacpp`, the plot from `matplotlib`. Neither is a dependency of the product; install
them into a folder of their own and run, from the root of the checkout:

    .venv/bin/pip install --target /tmp/peers xllamacpp matplotlib
    PYTHONPATH=/tmp/peers .venv/bin/python -m benchmarks.engine --quick --json

Every contender runs in a process of its own, with the same GGUF, threads, KV memory, prompts and greedy sampling.
A table, its figures and a plot are written to benchmarks/results/.
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
from pathlib import Path

from benchmarks.engine import peer, plan, plot, report
from benchmarks.engine.measurement import Findings, Measurement
from benchmarks.engine.process import ContenderFailed
from benchmarks.options import count, tell
from models.model import describe
from models.registry import Registry
from store.records.errors import BailiwickError

RESULTS = Path(__file__).resolve().parents[1] / "results"
CONTEXT = 40_960
"""Tokens of KV memory: 16 slots with 2,560 each, the longest request, for a peer that gives each slot its own."""


def main() -> int:
    """Runs the benchmark. The exit code is 0, or 2 if something that it needs is not there."""
    options = _options()
    if importlib.util.find_spec("xllamacpp") is None:
        print(peer.INSTALL, file=sys.stderr)
        return 2
    try:
        # The folder is one that is not there: no site's own models, but the one that every set-up installs.
        model = describe(options.model) if options.model else Registry(RESULTS / "no-site").get()
        measurement = Measurement(model.file, options.context, options.threads, tell)
        if options.quick:
            cells, limit = plan.quick(), plan.QUICK_LIMIT_S if options.repeats == 1 else 0.0
        else:
            tuned = peer.TUNED[0] if options.requests else measurement.choose()
            cells, limit = plan.full(tuned), 0.0
        if options.requests:
            cells = plan.small(cells, options.requests)
        findings = measurement.run(cells, options.repeats, limit)
    except (BailiwickError, ContenderFailed) as error:
        print(error, file=sys.stderr)
        return 2
    machine = (
        f"{model.name}, {options.threads} threads on {platform.machine()} with {os.cpu_count()} cores, "
        f"{options.context} tokens of KV memory, greedy, medians of {options.repeats}, {findings.seconds:.0f} s."
    )
    _write(findings, machine, options.out, "engine-quick" if options.quick else "engine")
    if options.json:
        print(json.dumps(report.summary(findings)))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="concurrency 1 and 8 only, in less than 10 minutes")
    parser.add_argument("--json", action="store_true", help="end with one line that is a JSON object")
    parser.add_argument("--repeats", type=count, default=1, help="how often all is measured; medians are reported")
    parser.add_argument("--threads", type=count, default=min(2, os.cpu_count() or 1), help="of each contender")
    parser.add_argument("--context", type=count, default=CONTEXT, help="KV memory of each contender in tokens")
    parser.add_argument(
        "--model", default="", help="a model that set-up installed; the default chat model if not given"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for table, figures and plot")
    parser.add_argument("--requests", type=count, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def _write(findings: Findings, machine: str, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = report.markdown(findings, machine)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(report.figures(findings), encoding="utf-8")
    if plot.available():
        plot.draw(findings, folder / f"{name}.png")
    else:
        tell(plot.INSTALL)
    tell(text)


if __name__ == "__main__":
    sys.exit(main())

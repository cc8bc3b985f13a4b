"""Measures durable runs beside DBOS and LangGraph: `python -m benchmarks.durability [--quick] [--json]`.

The peers come from PyPI and are no dependency of the product; install them into a folder of their own and run, from the
root of the checkout:

    .venv/bin/pip install --target /tmp/peers dbos langgraph langgraph-checkpoint-sqlite aiosqlite
    PYTHONPATH=/tmp/peers .venv/bin/python -m benchmarks.durability --quick --json

In every round one run takes 500 steps in sequence, each with a result of 1 KB: ours through the real core with output
commit (its outcome is on disk before it is told, its steps are on their way there), ours again with every step on disk
before the next, DBOS with SQLite, LangGraph with SqliteSaver and AsyncSqliteSaver, and SQLite alone. LangGraph's state
has only the last result, which is the kindest to it; once more it has all, as the others do. Then 32 runs at once, and
1,000 runs left open by a SIGKILL, counted from the start of the next core until each is at its pending step again. Last
the slope of the disk between 2,000 and 12,000 steps, after the core has closed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.durability import peers
from benchmarks.durability.figures import summary
from benchmarks.durability.measurement import Plan, run
from benchmarks.durability.process import ContenderFailed
from benchmarks.options import count, tell


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark. The exit code is 0, or 2 with one line if it cannot."""
    options = _options().parse_args(arguments)
    if lacking := peers.missing():
        print(lacking, file=sys.stderr)
        return 2
    try:
        found = summary(run(Plan(options.rounds or (2 if options.quick else 7)), options.disk, tell))
    except (ContenderFailed, OSError) as error:
        print(f"benchmarks.durability: {error}", file=sys.stderr)
        return 2
    for name, value in found.items():
        tell(f"{name:<36} {value:>12,.2f}")
    if options.json:
        print(json.dumps(found))
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durability", description="Measures durable runs.")
    parser.add_argument("--quick", action="store_true", help="two rounds instead of seven, within two minutes")
    parser.add_argument("--json", action="store_true", help="end with one line that is a JSON object")
    parser.add_argument("--rounds", type=count, default=0, help="how often all is measured; medians are reported")
    parser.add_argument("--disk", type=Path, help="a folder on the disk to measure; the temporary folder if not given")
    return parser


if __name__ == "__main__":
    sys.exit(main())

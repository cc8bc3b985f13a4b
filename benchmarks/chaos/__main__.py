"""Kills a busy runtime again and again: `python -m benchmarks.chaos --kills N [--quick] [--seed S] [--json]`.

A fleet of workflows has effects through three kinds of tools: one that heeds its idempotency key (`keyed`), one that
can only be asked about a key (`asked`), and one with neither (`blind`). An independent process carries the effects out
and counts them. Half of the kills come at random moments, also while the runtime starts; half between an intent and its
outcome: at the crash points in the core's code, or as soon as the counter has been asked for an effect. A tenth of
them, and at least ten, are of the full runtime on Ray (core, worker, model server, tool host, everything) under
`bailiwick up`; the others of the same core and tool host in processes without Ray or models, where the power is cut,
too. After each kill everything goes on without a person. The seed decides what is killed when; how long things take,
nobody decides.

The exit code is 0 if nothing was lost, done twice or damaged and only `blind` effects are in doubt, 1 if not, 2 if it
cannot be run. Nothing is written but in temporary folders. gcc is needed for the power cuts.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

from benchmarks.chaos import report
from benchmarks.chaos.plan import plan, share
from benchmarks.chaos.run import run
from benchmarks.options import count, tell
from store.records.errors import BailiwickError

KILLS, QUICK = 1000, 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; its exit code."""
    options = _options().parse_args(arguments)
    kills = options.kills or (QUICK if options.quick else KILLS)
    full = share(kills) if options.ray is None else min(options.ray, kills)
    try:
        findings = asyncio.run(run(plan(kills, options.seed, full), options.seed, tell))
    except BailiwickError as error:
        print(f"benchmarks.chaos: {error}", file=sys.stderr)
        return 2
    tell(report.page(findings))
    if options.json:
        print(json.dumps(report.summary(findings)))
    return 0 if findings.sound else 1


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=count, default=0, help=f"how many; {KILLS} if not given")
    parser.add_argument("--ray", type=int, default=None, help="how many of them on the full runtime")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} kills if no number is given")
    parser.add_argument("--seed", type=int, default=1, help="decides what is killed when")
    parser.add_argument("--json", action="store_true", help="end with one line that is a JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.bfcl`: function-calling accuracy of a model behind the worker's prompt.

Scored by bfcl-eval's own checker; the benchmark never shows a row's answer to the model, and with `--json` its last
line is one JSON object.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.bfcl.data import CATEGORIES, Row, load
from benchmarks.bfcl.report import Judged, Tally, table, wrong
from benchmarks.bfcl.scorer import VERSION, Scorer
from benchmarks.bfcl.solver import Handle, solve
from models.engine.engine import Engine
from models.model import Model, describe
from models.registry import SHIPPED, Registry
from store.records.errors import BailiwickError, SettingsError

CONTEXT = 8192


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 0, or 1 with one line on stderr if it cannot run."""
    options = _options().parse_args(arguments)
    try:
        scorer = Scorer()
        rows = _rows(scorer, options)
        tallies = _run(scorer, rows, options)
    except BailiwickError as error:
        print(f"benchmarks.bfcl: {error}", file=sys.stderr)
        return 1
    print(table(tallies))
    if options.json:
        categories = {each.category: each.json() for each in tallies}
        print(json.dumps({"benchmark": "bfcl", "bfcl_eval": VERSION, "rows": options.rows, "categories": categories}))
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bfcl", description=__doc__.partition(":")[2])
    parser.add_argument("--model", type=Path, help="a GGUF file; without it the registry's default model")
    parser.add_argument("--categories", type=_categories, default=CATEGORIES, help=",".join(CATEGORIES))
    parser.add_argument("--rows", choices=("even", "odd", "all"), default="even", help="by number, from 0")
    parser.add_argument("--limit", type=_count, default=0, help="rows of each category at most (0: all)")
    parser.add_argument("--threads", type=_count, default=0, help="threads of the engine (0: all cores)")
    parser.add_argument("--concurrency", type=_count, default=8, help="rows that are solved side by side")
    parser.add_argument("--no-jump-forward", action="store_true", help="sample also what the grammar forces")
    parser.add_argument("--quick", action="store_true", help="10 rows of each category")
    parser.add_argument("--wrong", action="store_true", help="list the rows that are wrong")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object as well")
    return parser


def _categories(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in CATEGORIES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(CATEGORIES)}")
    return names


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return int(text)


def _rows(scorer: Scorer, options: argparse.Namespace) -> dict[str, tuple[Row, ...]]:
    limit = 10 if options.quick and not options.limit else options.limit
    try:
        return {name: load(scorer.data, name, options.rows, limit) for name in options.categories}
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError("BFCL's data cannot be read", str(scorer.data), f"install {VERSION} again") from error


def _run(scorer: Scorer, rows: dict[str, tuple[Row, ...]], options: argparse.Namespace) -> list[Tally]:
    model = _model(options.model)
    settings: dict[str, Any] = {"jump_forward": False} if options.no_jump_forward else {}
    abreast = max(options.concurrency, 1)
    tallies = []
    with (
        closing(Engine.load(model, n_ctx=min(CONTEXT, model.context), n_threads=options.threads, **settings)) as engine,
        closing(Engine.load(Registry(SHIPPED).get(kind="embedding"), n_threads=options.threads)) as embedder,
    ):
        for category, asked in rows.items():
            began = time.monotonic()
            with ThreadPoolExecutor(abreast) as pool:
                solutions = asyncio.run(solve(Handle(engine, embedder, pool), asked, abreast))
            judged = [
                Judged(row, solution, scorer.misfit(row, list(solution.calls)))
                for row, solution in zip(asked, solutions, strict=True)
            ]
            tallies.append(Tally.of(category, judged, time.monotonic() - began))
            print(*(wrong(judged) if options.wrong else ()), sep="\n", end="\n" if options.wrong else "")
    return tallies


def _model(file: Path | None) -> Model:
    """The model in a GGUF file, or the default of the models that set-up installed."""
    if file is None:
        return Registry(SHIPPED).get()
    return describe(file)


if __name__ == "__main__":
    raise SystemExit(main())

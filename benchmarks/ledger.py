"""Measures the ledger: `python -m benchmarks.ledger [--quick] [--json] [--events N]`.

How many events a second get onto the disk, from 1 caller and from 32, each without a pause and each waiting for its own
event; beside them the same rows put into DuckDB with nothing else done, which is the limit. Then how long it takes to
verify a million events, in the database and in an audit folder, to prove one, and how large an event is on disk. Events
are as a run makes them; those with a payload have one of 1 KB. Nothing is written but in a temporary folder.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from threading import Thread
from typing import TypeVar

import duckdb

from benchmarks.options import count, tell
from runtime.audit_folder import export
from runtime.queries import LedgerQueries
from store import verify as auditor
from store.ledger import schema
from store.ledger.ledger import Ledger
from store.ledger.verify import verify
from store.records.errors import BailiwickError
from store.records.event import Draft
from store.records.kinds import Kind
from store.records.labels import trusted
from store.verify import Inclusion

T = TypeVar("T")
CALLERS = 32
MILLION = 1_000_000
PROOFS = 1000
PAYLOAD = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz ", k=1024))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark. The exit code is 0, or 2 with one line if it cannot."""
    options = _options().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="bailiwick-ledger-") as folder:
            found = measure(Path(folder), options.events or (20_000 if options.quick else 200_000))
    except BailiwickError as error:
        print(f"benchmarks.ledger: {error}", file=sys.stderr)
        return 2
    for name, value in found.items():
        tell(f"{name:<28} {value:>12,}")
    if options.json:
        print(json.dumps(found))
    return 0


def measure(folder: Path, events: int) -> dict[str, float]:
    """All figures, with this many events at a level."""
    waiting = max(events // 50, CALLERS)
    found = {
        "events": float(events),
        "raw_per_s": _raw(folder / "raw", events),
        "append_per_s": _appended(folder / "one", events, 1),
        "append_per_s_32": _appended(folder / "many", events, CALLERS),
        "append_per_s_payload": _appended(folder / "payload", events, 1, PAYLOAD),
        "acknowledged_per_s": _appended(folder / "waits", waiting, 1, waits=True),
        "acknowledged_per_s_32": _appended(folder / "wait", waiting, CALLERS, waits=True),
        "bytes_per_event": round(_size(folder / "one") / events, 1),
    }
    return found | _checked(folder / "one", folder / "audit", events)


def _checked(folder: Path, out: Path, events: int) -> dict[str, float]:
    """How long verification and proofs take, on a ledger of so many events."""
    with Ledger.open(folder, read_only=True) as ledger:
        seconds, found = _timed(lambda: verify(ledger))
        assert found.ok, found.problems
        exported, report = _timed(lambda: asyncio.run(export(LedgerQueries(ledger), out)))
        assert not report.problems, report.problems
        audited, _ = _timed(lambda: auditor.audit(out))
        key, proofs, checks = ledger.proofs.key, [], []
        for seq in random.Random(1).choices(range(1, events + 1), k=PROOFS):
            took, text = _timed(partial(ledger.proofs.inclusion, seq))
            proofs.append(took)
            checks.append(_timed(partial(Inclusion.parse(text).check, key))[0])
    return {
        "verify_s_per_million": round(seconds * MILLION / events, 1),
        "audit_s_per_million": round(audited * MILLION / events, 1),
        "export_s_per_million": round(exported * MILLION / events, 1),
        "proof_ms": round(1000 * median(proofs), 3),
        "proof_check_ms": round(1000 * median(checks), 3),
    }


def _appended(folder: Path, events: int, callers: int, payload: str = "", *, waits: bool = False) -> float:
    """Events a second until all are on disk."""

    def call(ledger: Ledger, caller: int) -> None:
        for number in range(caller, events, callers):
            pending = ledger.append(_draft(number), {"n": number, "text": payload} if payload else None)
            if waits:
                pending.wait()

    with Ledger.open(folder) as ledger:
        threads = [Thread(target=call, args=(ledger, caller)) for caller in range(callers)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while ledger.last_seq() < events:
            ledger.wait(ledger.last_seq(), 10.0)
        took = time.perf_counter() - started
    return round(events / took)


def _raw(folder: Path, events: int) -> float:
    """Rows a second of a prepared event into the same table, in transactions of a thousand: what DuckDB alone does."""
    with Ledger.open(folder) as ledger:
        event = ledger.append(_draft(1)).wait()
    number = 2
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        row = schema.row(event, event.hash)
        started = time.perf_counter()
        while number < events + 2:
            connection.begin()
            batch = [(*row[:_SEQ], seq, *row[_SEQ + 1 :]) for seq in range(number, min(number + 1000, events + 2))]
            with connection.appender("events") as appender:
                appender.append_rows(batch)
            connection.commit()
            number += len(batch)
        took = time.perf_counter() - started
    return round(events / took)


_SEQ = schema.FIELDS.index("seq")


def _draft(number: int) -> Draft:
    """An event as a step of a run makes it."""
    return Draft(
        kind=Kind.STEP_COMPLETED,
        tenant="local",
        unit="operations",
        run=f"r{number // 100:015x}",
        step=f"{number % 100}.1",
        actor="worker",
        actor_version="3",
        principal="ada",
        workflow="triage",
        workflow_version=2,
        fingerprint=f"{number:064x}",
        model_digest=f"{7:064x}",
        policy_digest=f"{9:064x}",
        labels=_LABELS,
        tokens=120,
        device_ms=800,
    )


_LABELS = trusted("local", "user")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _timed(what: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = what()
    return time.perf_counter() - started, result


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description="Measures the ledger.")
    parser.add_argument("--quick", action="store_true", help="with a tenth of the events")
    parser.add_argument("--json", action="store_true", help="end with one line that is a JSON object")
    parser.add_argument("--events", type=count, default=0, help="how many events a level has")
    return parser


if __name__ == "__main__":
    sys.exit(main())

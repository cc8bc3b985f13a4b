"""The other end of contender.py: starts the process of a measurement, and takes its figures or kills it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.durability.contender import OURS

ROOT = Path(__file__).resolve().parents[2]


class ContenderFailed(RuntimeError):
    """The process of a measurement ended without figures; the message has the last lines that it printed."""


def measure(do: str, folder: Path, **order: Any) -> dict[str, float]:
    """The figures of one measurement. Raises ContenderFailed if there are none."""
    return _figures(do, folder, order, kill=False)


def measure_and_kill(do: str, folder: Path, **order: Any) -> None:
    """The same, for a process that does not end: it is killed with SIGKILL once it has given its figures."""
    _figures(do, folder, order, kill=True)


def _figures(do: str, folder: Path, order: dict[str, Any], *, kill: bool) -> dict[str, float]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = dict(os.environ)
    if do in OURS:
        # The peers bring libraries of their own; our side runs with the locked ones.
        environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-m", "benchmarks.durability.contender"]
    text = json.dumps({"do": do, "folder": str(folder), **order})
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            [*command, text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=environment,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
        finally:
            if kill:
                process.kill()
        process.wait()
        if not line:
            errors.seek(0)
            said = " | ".join(errors.read().strip().split("\n")[-4:])
            raise ContenderFailed(f"{do} ended with code {process.returncode}: {said}")
    figures: dict[str, float] = json.loads(line)
    return figures

"""The other end of contender.py: starts a contender's process, gives it orders and ends it."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.engine.answer import Answer, Outcome
from benchmarks.engine.ours import Switches
from benchmarks.engine.peer import Setting
from benchmarks.engine.workload import Job, Level

ROOT = Path(__file__).resolve().parents[2]
END_S = 30.0


class ContenderFailed(RuntimeError):
    """A contender's process ended; the message has the last lines that it printed."""


class Process:
    """A contender in a process of its own, with the GGUF at `file`.

    It runs `slots` sequences at once and has `context` tokens of KV memory.
    """

    def __init__(self, setting: Switches | Setting, file: Path, slots: int, context: int, threads: int) -> None:
        """Starts it and waits until the model is loaded. Raises ContenderFailed if that fails."""
        self.name = setting.name
        ours = isinstance(setting, Switches)
        environment = dict(os.environ)
        if ours:
            # The peer's wheel brings libraries of its own; our engine runs with the locked ones.
            environment.pop("PYTHONPATH", None)
        self._resources = ExitStack()
        errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in close()
        self._errors = self._resources.enter_context(errors)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine.contender"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            cwd=ROOT,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._told = self._process.stdin, self._resources.enter_context(self._process.stdout)
        kind = "ours" if ours else "peer"
        what = {"kind": kind, "file": str(file), "setting": asdict(setting)}
        self._ask({**what, "slots": slots, "context": context, "threads": threads})

    def run(self, level: Level) -> Outcome:
        """Runs a level. Raises ContenderFailed if the process ends over it."""
        return Outcome.parse(self._ask({"do": "run", "level": asdict(level)}))

    def answer(self, job: Job) -> Answer:
        """Answers one job alone."""
        return Answer(**self._ask({"do": "answer", "job": asdict(job)}))

    def prompts(self, level: Level) -> list[list[int]]:
        """The tokens of each prompt of a level."""
        tokens: list[list[int]] = self._ask({"do": "prompts", "jobs": [asdict(job) for job in level.jobs]})
        return tokens

    def close(self) -> None:
        """Ends the process and waits for it."""
        self._orders.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._resources.close()

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, order: dict[str, Any]) -> Any:
        # If the pipe is broken, the reason is in what the process printed.
        with suppress(BrokenPipeError):
            self._orders.write(json.dumps(order) + "\n")
            self._orders.flush()
        line = self._told.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = " | ".join(self._errors.read().split("\n")[-4:])
            self.close()
            raise ContenderFailed(f"{self.name} ended with code {self._process.returncode}: {said.strip()}")
        return json.loads(line)

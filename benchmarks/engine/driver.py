"""Hands the jobs of a level to a contender, as many at once as the level says, and takes the times.

The same driver runs in the process of every contender, so that what it costs is the same for all.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from benchmarks.engine.answer import Answer, Outcome
from benchmarks.engine.workload import Job, Level

OnText = Callable[[str], None]
STARTED = 24
"""Pieces of text that each stream has shown before the long prompt arrives: enough for a median gap."""
STREAM_START_S = 120.0


class Contender(Protocol):
    """An engine under measurement. It is called from many threads at once."""

    def answer(self, job: Job, on_text: OnText | None = None) -> Answer:
        """Answers one job and blocks until then; `on_text` gets each piece of text when it is there.

        A request that fails is an Answer with an error, so that one failure does not end a measurement.
        """
        ...

    def work(self) -> tuple[int, float]:
        """Batches run so far, and milliseconds of Python between them; zeros if the contender does not tell."""
        ...

    def prompt(self, job: Job) -> list[int]:
        """The tokens of a job's prompt. Raises NotImplementedError if the contender does not tell."""
        ...

    def close(self) -> None:
        """Frees the model."""
        ...


def run(contender: Contender, level: Level) -> Outcome:
    """Runs a level to its end."""
    steps, python_ms = contender.work()
    outcome = _stall(contender, level) if level.workload == "stall" else _closed_loop(contender, level)
    after_steps, after_ms = contender.work()
    return Outcome(
        answers=outcome.answers,
        seconds=outcome.seconds,
        gaps_before=outcome.gaps_before,
        gaps_after=outcome.gaps_after,
        peak_bytes=peak_bytes(),
        steps=after_steps - steps,
        python_ms=after_ms - python_ms,
    )


def peak_bytes() -> int:
    """The largest resident set that this process has had."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


class _Queue:
    """The jobs of a level that may start now, in their order. Thread-safe."""

    def __init__(self, jobs: tuple[Job, ...]) -> None:
        self._jobs = jobs
        self._waiting = {job.number for job in jobs}
        self._ended: set[int] = set()
        self._changed = threading.Condition()

    def take(self) -> Job | None:
        """The next job that may start; waits for one; None when none is left."""
        with self._changed:
            while self._waiting:
                for job in self._jobs:
                    if job.number in self._waiting and self._ended.issuperset(job.after):
                        self._waiting.remove(job.number)
                        return job
                self._changed.wait()
            return None

    def end(self, job: Job) -> None:
        """Notes that a job was answered, or failed."""
        with self._changed:
            self._ended.add(job.number)
            self._changed.notify_all()


def _closed_loop(contender: Contender, level: Level) -> Outcome:
    """`concurrency` callers, each of which asks, waits for the answer and asks again."""
    queue = _Queue(level.jobs)
    answers: dict[int, Answer] = {}

    def caller() -> None:
        while (job := queue.take()) is not None:
            try:
                answers[job.number] = contender.answer(job)
            finally:
                queue.end(job)

    started = time.perf_counter()
    with ThreadPoolExecutor(level.concurrency) as pool:
        callers = [pool.submit(caller) for _ in range(level.concurrency)]
    seconds = time.perf_counter() - started
    for each in callers:
        each.result()
    return Outcome(tuple(answers[job.number] for job in level.jobs), seconds)


def _stall(contender: Contender, level: Level) -> Outcome:
    """Streams run; when all have shown some text, the long prompt arrives. Takes the gaps of their text."""
    *streams, arrival = level.jobs
    stamps: list[list[float]] = [[] for _ in streams]
    shown = threading.Condition()

    def stream(number: int) -> Answer:
        def on_text(_: str) -> None:
            with shown:
                stamps[number].append(time.perf_counter())
                shown.notify_all()

        return contender.answer(streams[number], on_text)

    started = time.perf_counter()
    with ThreadPoolExecutor(len(streams)) as pool:
        running = [pool.submit(stream, number) for number in range(len(streams))]
        with shown:
            shown.wait_for(lambda: all(len(each) >= STARTED for each in stamps), STREAM_START_S)
        arrived = time.perf_counter()
        answer = contender.answer(arrival)
        first = arrived + answer.first_ms / 1000
        answers = (*(each.result() for each in running), answer)
    gaps = [pair for each in stamps for pair in pairwise(each)]
    return Outcome(
        answers,
        time.perf_counter() - started,
        gaps_before=tuple((later - earlier) * 1000 for earlier, later in gaps if later <= arrived),
        gaps_after=tuple((later - earlier) * 1000 for earlier, later in gaps if later > arrived and earlier < first),
    )

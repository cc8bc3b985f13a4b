"""One run: each model with each contender at each level, one after the other, each contender in its own process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.engine.ours import Switches
from benchmarks.engine.peer import Setting
from benchmarks.engine.process import ContenderFailed, Process
from benchmarks.gpu import roofline
from benchmarks.gpu.bandwidth import Bandwidth
from benchmarks.gpu.figures import Row, Wave, row, unlike
from benchmarks.gpu.plan import Plan, warm_up, wave
from benchmarks.gpu.subject import Subject


@dataclass(slots=True)
class Findings:
    """What a run found. `unlike` counts requests whose prompts have another number of tokens at a peer; `complaints`
    are what failed answers said, each once."""

    rows: list[Row] = field(default_factory=list)
    unlike: int = 0
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Measurement:
    """Runs a plan with so many threads on a device of some bandwidth. `tell` gets a line now and then."""

    def __init__(self, plan: Plan, threads: int, bandwidth: Bandwidth, tell: Callable[[str], None]) -> None:
        self._plan, self._threads, self._bandwidth, self._tell = plan, threads, bandwidth, tell
        self.findings = Findings()

    def run(self, subject: Subject, ours: Switches, peers: Sequence[Setting]) -> None:
        """Measures one model. Raises ContenderFailed if a contender does not load it, or ends."""
        started = time.monotonic()
        levels = self._plan.levels
        # Ours knows no slots of a fixed size: one process serves all levels.
        with self._open(ours, subject, max(levels)) as process:
            own = {level: self._level(process, subject, level) for level in levels}
        for setting in peers:
            for level in levels:
                with self._open(setting, subject, level) as process:
                    self.findings.unlike += unlike(own[level], self._level(process, subject, level))
        self.findings.seconds += time.monotonic() - started

    def _open(self, contender: Switches | Setting, subject: Subject, slots: int) -> Process:
        process = Process(contender, subject.file, slots, self._plan.context(slots), self._threads)
        answer = process.answer(warm_up())
        if answer.error:
            process.close()
            raise ContenderFailed(f"{contender.name} does not answer: {answer.error}")
        return process

    def _level(self, process: Process, subject: Subject, level: int) -> list[Wave]:
        """Takes the waves of a level, and notes their row.

        A wave before them is not counted: a new process makes its kernels and buffers ready in its first large batch.
        """
        before = f"{subject.name} at {level}, before"
        process.run(wave(self._plan, level, "prompts", before, subject.banned))
        waves = []
        for number in range(self._plan.waves_at(level)):
            name = f"{subject.name} at {level}, wave {number}"
            prompts = process.run(wave(self._plan, level, "prompts", name, subject.banned))
            waves.append(Wave(prompts, process.run(wave(self._plan, level, "decode", name, subject.banned))))
        traffic = roofline.read(subject.file)
        found = row(subject.name, process.name, waves, self._plan.answer, traffic, self._bandwidth)
        self.findings.rows.append(found)
        for each in waves:
            for answer in (*each.prompts.answers, *each.decode.answers):
                if answer.error and answer.error not in self.findings.complaints:
                    self.findings.complaints.append(answer.error)
        self._tell(
            f"{found.model} at {level}: {found.contender} {found.decode_per_s:.1f} tokens/s, prompts "
            f"{found.prompt_per_s:.0f} tokens/s, {found.roofline_share:.1%} of the roofline, {found.failed} failed"
        )
        return waves

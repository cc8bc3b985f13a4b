"""One run: takes the cells in turn, all contenders of a cell one after the other, each in its own process."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.engine.answer import Outcome
from benchmarks.engine.figures import Row, limit_per_minute, middle, row
from benchmarks.engine.ours import OURS, Switches
from benchmarks.engine.peer import TUNED, Setting
from benchmarks.engine.plan import RATIO, Cell, fitting
from benchmarks.engine.process import Process
from benchmarks.engine.workload import Level, agents, free_text, probe, stall

SLOTS = 16
PROBES = 3
TRIAL_REQUESTS = 20


@dataclass(slots=True)
class Findings:
    """What a run found. `limits` are requests a minute by concurrency and `prefill` tokens/s by contender.

    `unlike` counts the prompts whose number of tokens differs between our engine and the peer: they must be none, or
    the two did not compute the same.
    """

    rows: list[Row] = field(default_factory=list)
    limits: dict[int, list[float]] = field(default_factory=dict)
    prefill: dict[str, list[float]] = field(default_factory=dict)
    unlike: int = 0
    seconds: float = 0.0

    def table(self) -> list[Row]:
        """The rows, repeats folded into their medians, in the order in which they were first measured."""
        groups: dict[tuple[str, int, bool, str], list[Row]] = {}
        for each in self.rows:
            groups.setdefault((each.workload, each.concurrency, each.warm, each.contender), []).append(each)
        return [middle(group) for group in groups.values()]

    def limit(self, concurrency: int) -> float:
        """The arithmetic limit of a cold agents level, in requests a minute; NaN if it was not measured."""
        return median(self.limits.get(concurrency, [math.nan]))


class Measurement:
    """Runs cells with the GGUF at `file`. `context` and `threads` are every contender's.

    `tell` gets a line now and then.
    """

    def __init__(self, file: Path, context: int, threads: int, tell: Callable[[str], None]) -> None:
        self._file, self._context, self._threads, self._tell = file, context, threads, tell
        self.findings = Findings()

    def run(self, cells: tuple[Cell, ...], repeats: int, limit_s: float) -> Findings:
        """Takes all cells, `repeats` times; within `limit_s` seconds, if that is not 0, by shrinking what is left."""
        started = time.monotonic()
        for repeat in range(repeats):
            for number, cell in enumerate(cells):
                if limit_s:
                    cell = cell.shrunk(fitting(cells, number, limit_s, time.monotonic() - started))
                self._cell(cell, repeat)
        self.findings.seconds = time.monotonic() - started
        return self.findings

    def choose(self) -> Setting:
        """The tuned setting that does the most on a small level at concurrency 8."""
        speeds = {}
        for number, setting in enumerate(TUNED):
            with self._open(setting, 8) as process:
                level = agents(8, TRIAL_REQUESTS, f"trial {number}")
                speeds[setting] = row(level, setting.name, process.run(level), None).per_minute
            self._tell(f"trial of {setting}: {speeds[setting]:.1f} requests a minute")
        return max(speeds, key=lambda setting: speeds[setting])

    def _cell(self, cell: Cell, repeat: int) -> None:
        """Cold on every contender, then warm in the processes that are still there."""
        name = f"{cell.workload} {cell.concurrency} {repeat}"
        # Who comes first changes from repeat to repeat, in case a machine slows down as it gets warm.
        turn = repeat % len(cell.contenders)
        order = cell.contenders[turn:] + cell.contenders[:turn]
        level = _level(cell, name)
        with ExitStack() as stack:
            found: dict[str, Outcome] = {}
            processes: dict[str, Process] = {}
            for contender in order:
                process = stack.enter_context(self._open(contender, level.concurrency))
                processes[contender.name] = process
                if contender.name in cell.probed:
                    self._probe(process, cell, name)
                found[contender.name] = process.run(level)
            best = self._note(level, found)
            if cell.workload == "agents":
                self._note_limit(level, found, processes)
            if cell.warm:
                wanted = [key for key in processes if not cell.better_only or key in (OURS.name, best)]
                warm = _level(cell, name, warm=True)
                self._note(warm, {key: processes[key].run(warm) for key in wanted})

    def _open(self, contender: Switches | Setting, concurrency: int) -> Process:
        slots = SLOTS if isinstance(contender, Switches) else concurrency
        return Process(contender, self._file, slots, self._context, self._threads)

    def _probe(self, process: Process, cell: Cell, name: str) -> None:
        """Notes how many tokens a second a contender computes of a prompt alone: the best of some."""
        speeds = []
        for number in range(PROBES):
            answer = process.answer(probe(f"{number} probe of {name}", cell.shared_tokens))
            if not answer.error and answer.device_ms:
                speeds.append((answer.prompt_tokens - answer.reused_tokens) / answer.device_ms * 1000)
        self.findings.prefill.setdefault(process.name, []).append(max(speeds, default=math.nan))

    def _note(self, level: Level, found: dict[str, Outcome]) -> str:
        """Adds the rows of a level. Returns the better one of the peers that count."""
        rows = [row(level, name, outcome, found.get(OURS.name)) for name, outcome in found.items()]
        self.findings.rows += rows
        for each in rows:
            warm = "warm" if each.warm else "cold"
            self._tell(
                f"{each.workload} at {each.concurrency}, {warm}: {each.contender} {each.per_minute:.1f} requests/min"
                f", {each.tokens_per_s:.0f} tokens/s, {each.failed:.0f} of {each.requests:.0f} failed"
            )
        peers = [each for each in rows if each.contender in RATIO]
        return max(peers, key=lambda each: each.per_minute).contender if peers else ""

    def _note_limit(self, level: Level, found: dict[str, Outcome], processes: dict[str, Process]) -> None:
        """Notes the arithmetic limit, from the tokens that the peer counts and the speed that ours was seen at."""
        peer = next((processes[name] for name in RATIO if name in processes), None)
        ours = found.get(OURS.name)
        if peer is None or ours is None:
            return
        prompts = peer.prompts(level)
        self.findings.unlike += sum(
            len(prompt) != answer.prompt_tokens
            for prompt, answer in zip(prompts, ours.answers, strict=True)
            if not answer.error
        )
        if speeds := self.findings.prefill.get(OURS.name):
            limit = limit_per_minute(prompts, ours.answers, speeds[-1])
            self.findings.limits.setdefault(level.concurrency, []).append(limit)


def _level(cell: Cell, name: str, *, warm: bool = False) -> Level:
    """The requests of a cell: the same for the same name."""
    match cell.workload:
        case "agents":
            requests = cell.warm if warm else cell.requests
            return agents(cell.concurrency, requests, name, warm=warm, shared_tokens=cell.shared_tokens)
        case "free_text":
            return free_text(cell.concurrency, cell.requests, name)
        case "stall":
            return stall(cell.concurrency, name, cell.arrival_tokens)

"""Our engine as a contender, in this process."""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.answer import Answer
from benchmarks.engine.driver import OnText
from benchmarks.engine.workload import Job
from models.engine import answer
from models.engine.engine import Engine
from models.model import describe
from models.request import Message, Request
from store.records.errors import BailiwickError

DEADLINE_S = 3600.0
BAN = -100.0
"""What is added to the logit of a token that an answer must not have."""


@dataclass(frozen=True, slots=True)
class Switches:
    """Which parts of the engine are on: all, but for ablations, and where only what a step reads is to count.

    `require_gpu` refuses to run with a layer on the CPU.
    """

    name: str
    jump_forward: bool = True
    share_prefixes: bool = True
    speculate: bool = True
    require_gpu: bool = False


OURS = Switches("ours")
ABLATIONS = (Switches("no jump-forward", jump_forward=False), Switches("no sharing", share_prefixes=False))


class Ours:
    """The engine, which runs `slots` sequences at once at most.

    `context` is its KV memory in tokens; what one request may have of it is the model's own context.
    """

    def __init__(self, file: str, switches: Switches, slots: int, context: int, threads: int) -> None:
        """Loads the GGUF at `file`."""
        # The peer shows every token by itself. Ours gathers text for some moments: not here, where gaps are measured.
        answer.CHUNK_S = 0.0
        self._engine = Engine.load(
            describe(Path(file)),
            cells=context,
            n_threads=threads,
            slots=slots,
            jump_forward=switches.jump_forward,
            share_prefixes=switches.share_prefixes,
            speculate=switches.speculate,
            require_gpu=switches.require_gpu,
        )

    def answer(self, job: Job, on_text: OnText | None = None) -> Answer:
        """Answers one job; see Contender."""
        request = Request(
            (Message("system", job.system), Message("user", job.user)),
            schema=job.schema,
            max_tokens=job.max_tokens,
            deadline_s=DEADLINE_S,
            space="benchmark",
            priority=int(job.urgent),
            logit_bias=tuple((token, BAN) for token in job.banned),
        )
        started = time.perf_counter()
        try:
            done = self._engine.submit(request, on_text=on_text).result()
        except BailiwickError as error:
            return Answer(error=str(error)[:300])
        return Answer(
            text=done.text,
            prompt_tokens=done.prompt_tokens,
            reused_tokens=done.reused_tokens,
            sampled_tokens=done.sampled_tokens,
            forced_tokens=done.forced_tokens,
            first_ms=float(done.first_token_ms),
            total_ms=(time.perf_counter() - started) * 1000,
            device_ms=float(done.device_ms),
        )

    def work(self) -> tuple[int, float]:
        """Batches run so far, and milliseconds of Python between them."""
        counters = self._engine.counters
        return int(counters["steps"]), counters["python_ms"]

    def prompt(self, job: Job) -> list[int]:
        """The peer tells the tokens of prompts, so that what must be computed is not counted by who computes it."""
        raise NotImplementedError("ours tells no tokens of prompts; the peer does")

    def close(self) -> None:
        """Unloads the model."""
        self._engine.close()

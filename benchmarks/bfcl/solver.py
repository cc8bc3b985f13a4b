"""Solves a row as an agent would: the real worker, with the row's functions as its tools.

The request, the tools and the goal are what the `task` workflow gives to the worker. Nothing is executed: BFCL's
functions do not exist, and a call that the worker proposes is answered as a staged effect is.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.bfcl.data import Row
from models.engine.engine import Engine
from models.request import Completion, Embedding, Request
from runtime.agents.call_schema import DONE
from runtime.agents.proposal import Allowance, Model, Turn, WorkContext
from runtime.agents.worker import Worker

GOAL = "Do the task with the tools."
"""What the `task` workflow asks its worker for; the question is the task."""
MOST_CALLS = 8
"""Calls that a row may ask for side by side; BFCL's have six at most."""
ALLOWANCE = Allowance(tokens=320, prompt=6000, seconds=600.0, texts=12_000)


@dataclass(frozen=True, slots=True)
class Solution:
    """The calls that were proposed, each `{name: arguments}`, the completions they took, and what went wrong."""

    calls: tuple[dict[str, Any], ...]
    completions: tuple[Completion, ...]
    error: str = ""


class Handle:
    """Two engines in this process, as the model that a worker holds; the pool's threads wait for them."""

    def __init__(self, engine: Engine, embedder: Engine, pool: ThreadPoolExecutor) -> None:
        self._engine, self._embedder, self._pool = engine, embedder, pool

    async def generate(self, request: Request) -> Completion:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._engine.generate, request)

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        work = partial(self._embedder.embed, texts, max_tokens=max_tokens, deadline_s=deadline_s)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


async def solve(model: Model, rows: Sequence[Row], concurrency: int) -> list[Solution]:
    """The solutions of rows, in their order, `concurrency` of them at a time."""
    free, worker = asyncio.Semaphore(concurrency), Worker(model)

    async def one(row: Row) -> Solution:
        async with free:
            return await _solve(worker, row)

    return await asyncio.gather(*(one(row) for row in rows))


async def _solve(worker: Worker, row: Row) -> Solution:
    """One call, or for a row of parallel calls as many as the worker proposes until it ends or repeats itself."""
    turns: list[Turn] = []
    completions: list[Completion] = []
    error = ""
    for _ in range(MOST_CALLS if row.category == "parallel" else 1):
        proposal = await worker.work(_context(row, tuple(turns)))
        completions += [call.given for call in proposal.calls if isinstance(call.given, Completion)]
        if proposal.value is None:
            failed = proposal.error
            error = f"{type(failed).__name__}: {failed.what}" if failed else "no whole answer"
            break
        name, arguments = proposal.value["tool"], proposal.value["arguments"]
        if name == DONE or any((turn.tool, turn.arguments) == (name, arguments) for turn in turns):
            break
        turns.append(Turn(name, arguments, {"staged": True}))
    return Solution(tuple({turn.tool: turn.arguments} for turn in turns), tuple(completions), error)


def _context(row: Row, turns: tuple[Turn, ...]) -> WorkContext:
    notes = (row.system,) if row.system else ()
    return WorkContext(row.question, GOAL, notes, (), row.tools, turns, ALLOWANCE)

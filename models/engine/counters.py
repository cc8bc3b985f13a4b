"""What an engine has done since it was loaded, in numbers. Plain data, for dashboards and Prometheus.

Times are milliseconds. What ends in a unit or in `_tokens` only grows; the gauges are of the last step.
"""

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For their types only: a command line that prints counters need not load what an engine is made of.
    from models.engine.answer import Score
    from models.request import Completion

GAUGES = ("active", "waiting", "batch", "cells", "cells_used")


@dataclass(slots=True)
class Requests:
    """What was answered. `answers` are the requests that were answered in words, which `first_token_ms` is of.

    `reused_tokens` another had computed before; `forced_tokens` followed from grammars.
    """

    requests: int = 0
    answers: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    sampled_tokens: int = 0
    forced_tokens: int = 0
    scored_choices: int = 0
    embedded_texts: int = 0
    ranked_documents: int = 0
    device_ms: int = 0
    queue_ms: int = 0
    first_token_ms: int = 0


@dataclass(slots=True)
class Steps:
    """What the engine's thread did. Only that thread writes it.

    `drafted_tokens` were guessed, `accepted_tokens` rightly; `step_device_ms` is what the device took for all steps,
    `python_ms` what they took beside it. `active` and `waiting` are sequences, `batch` those in the last step, `cells`
    the KV memory in tokens and `cells_used` how much of it is in use.
    """

    steps: int = 0
    computed_tokens: int = 0
    step_device_ms: float = 0.0
    python_ms: float = 0.0
    preempted: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    active: int = 0
    waiting: int = 0
    batch: int = 0
    cells: int = 0
    cells_used: int = 0


class Counters:
    """The counters of one engine; any thread may add."""

    def __init__(self) -> None:
        self._requests, self._lock = Requests(), threading.Lock()

    def add(self, **amounts: int) -> None:
        """Adds to the counters of these names."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self._requests, name, getattr(self._requests, name) + amount)

    def completed(self, done: "Completion") -> None:
        """Adds a request that was answered in words."""
        self.add(
            requests=1,
            answers=bool(done.first_token_ms),
            prompt_tokens=done.prompt_tokens,
            reused_tokens=done.reused_tokens,
            sampled_tokens=done.sampled_tokens,
            forced_tokens=done.forced_tokens,
            device_ms=done.device_ms,
            queue_ms=done.queue_ms,
            first_token_ms=done.first_token_ms,
        )

    def scored(self, score: "Score") -> None:
        """Adds one choice of a request that is scored."""
        self.add(
            prompt_tokens=score.sequence.prompt,
            reused_tokens=score.sequence.reused,
            scored_choices=1,
            device_ms=round(score.device_ns / 1e6),
        )

    def all(self, steps: Steps | None) -> dict[str, Any]:
        """Every counter by its name."""
        with self._lock:
            return asdict(self._requests) | asdict(steps or Steps())

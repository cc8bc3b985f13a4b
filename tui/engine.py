"""How the engine does: speeds over the last few seconds, worked out of counters that only grow.

What is counted when an answer ends (its queue time, its first token, what it reused) is told of the answers that ended
last, for as long as no other has ended. Knows neither sockets nor terminals.
"""

from collections import deque
from collections.abc import Mapping

WINDOW_S = 5.0


class Engine:
    """The last few counters of a runtime, as models/engine/counters.py names them; more of them may come unknown.

    Times are milliseconds, shares 0 to 1. What nothing has told yet is None.
    """

    def __init__(self) -> None:
        self._taken: deque[tuple[float, Mapping[str, float]]] = deque()
        self.tokens_per_s = self.written_per_s = 0.0
        self.queue_ms: float | None = None
        self.first_token_ms: float | None = None
        self.reused: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is an engine that counts."""
        return bool(self._now)

    @property
    def batch(self) -> int:
        """Sequences in the last step."""
        return int(self._now.get("batch", 0))

    @property
    def waiting(self) -> int:
        """Sequences that have no place in a step yet."""
        return int(self._now.get("waiting", 0))

    @property
    def used(self) -> float | None:
        """The share of the KV memory that is in use."""
        cells = self._now.get("cells", 0)
        return self._now.get("cells_used", 0) / cells if cells else None

    def take(self, counters: Mapping[str, float], now: float) -> None:
        """Take the counters as of `now` (monotonic seconds)."""
        if any(counters.get(name, 0) < self._now.get(name, 0) for name in ("requests", "steps", "prompt_tokens")):
            self._taken.clear()  # a model was unloaded, or its server started anew: the counters begin again
        self._taken.append((now, counters))
        while len(self._taken) > 2 and now - self._taken[0][0] > WINDOW_S:
            self._taken.popleft()
        elapsed = now - self._taken[0][0]
        self.tokens_per_s = self._grown("computed_tokens") / elapsed if elapsed else 0.0
        self.written_per_s = self._grown("sampled_tokens", "forced_tokens") / elapsed if elapsed else 0.0
        if requests := self._grown("requests"):
            self.queue_ms = self._grown("queue_ms") / requests
        if answers := self._grown("answers"):
            self.first_token_ms = self._grown("first_token_ms") / answers
        if prompt := self._grown("prompt_tokens"):
            self.reused = self._grown("reused_tokens") / prompt

    @property
    def _now(self) -> Mapping[str, float]:
        return self._taken[-1][1] if self._taken else {}

    def _grown(self, *names: str) -> float:
        """By how much counters have grown together over the last few seconds."""
        before = self._taken[0][1]
        return sum(max(0, self._now.get(name, 0) - before.get(name, 0)) for name in names)

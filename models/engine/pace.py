"""How many tokens of prompts may be computed beside running answers, so that nobody who watches one sees it stall.

Throughput wants large batches, a watched stream wants short steps. While streams run, a step may take STRETCH times as
long as one without prompts: the time that a token takes is measured as it goes, since no two machines are alike.
"""

STRETCH = 2.0
LEAST = 1
"""Tokens of prompts that a step takes in any case, so that they come to an end."""
_MEMORY = 0.9


class Pace:
    """Learns from the steps of one engine. Times are nanoseconds."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._plain_ns = 0.0
        self._token_ns = 0.0
        self._most = LEAST

    def learn(self, prompts: int, took_ns: int) -> None:
        """Takes note of a step with running answers and `prompts` tokens of prompts."""
        if not prompts:
            self._plain_ns = _mix(self._plain_ns, took_ns)
        elif self._plain_ns:
            self._token_ns = _mix(self._token_ns, max(0.0, took_ns - self._plain_ns) / prompts)
            # One step that took no longer by chance must not make the next take all that the batch holds.
            self._most = max(LEAST, min(self._batch, 2 * prompts))

    def prefill(self, streams: bool) -> int:
        """How many tokens of prompts the next step may take, with or without streams that somebody watches."""
        if not streams or not self._plain_ns:
            return self._batch
        if not self._token_ns:
            return self._most
        return max(LEAST, min(self._most, int((STRETCH - 1) * self._plain_ns / self._token_ns)))


def _mix(old: float, new: float) -> float:
    return _MEMORY * old + (1 - _MEMORY) * new if old else float(new)

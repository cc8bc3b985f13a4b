"""The way out: what the gate needs of whoever holds the tool sessions. The tool host's actor is wrapped to fit it."""

from typing import Protocol

from store.records.canonical import Json
from tools.toolset import Outcome


class Host(Protocol):
    """Carries out calls that the gate let through."""

    async def call(self, name: str, arguments: dict[str, Json], key: str, timeout_s: float, epoch: int) -> Outcome:
        """Call one tool once; an effect is never repeated by the host itself.

        `key` is the idempotency key of an effect, empty for a read; the host gives it to a tool that takes one. `epoch`
        is the caller's: a host that has seen a higher one refuses (StaleEpoch). Raises BadArguments if they never left
        because they do not fit; ToolFailed or Unreachable if the server is gone, Timeout after `timeout_s` seconds:
        after each of these three nobody knows whether the call took effect.
        """
        ...

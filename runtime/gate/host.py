"""The way out: what the gate needs of whoever holds the tool sessions. The tool host's actor is wrapped to fit it."""

from typing import Protocol

from store.records.canonical import Json
from tools.toolset import Outcome


class Host(Protocol):
    """Carries out calls that the gate let through."""

    async def call(self, name: str, arguments: dict[str, Json], key: str, timeout_s: float, epoch: int) -> Outcome:
        """Call one tool once; never repeats a call by itself.

        `arguments` already hold the idempotency key where the tool takes one; `key` is there for the host's own log and
        is empty for a read. `epoch` is the caller's: a host that has seen a higher one raises Denied. Raises ToolFailed
        or Unreachable if the server is gone, Timeout after `timeout_s` seconds; after each of these three nobody knows
        whether the call took effect.
        """
        ...

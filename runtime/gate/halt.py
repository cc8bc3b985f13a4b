"""The halt: while it is on, no effect begins, whatever policy and people have allowed.

It is in the ledger, so that a restart does not lift it. It knows of no run, and decides nothing else.
"""

from collections.abc import Iterable

from runtime.gate.call import ToolCall
from store.records.errors import Halted
from store.records.event import Event
from store.records.kinds import Kind


class Halt:
    """Whether effects are halted. `event` is the one that began it, None while they are not."""

    def __init__(self) -> None:
        self.event: Event | None = None

    def replay(self, events: Iterable[Event]) -> None:
        """Learn from the ledger, or from what was just put there."""
        for event in events:
            if event.kind == Kind.HALT_BEGUN:
                self.event = event
            elif event.kind == Kind.HALT_RELEASED:
                self.event = None

    def check(self, call: ToolCall) -> None:
        """Raise Halted if this effect may not begin, or not be tried again."""
        if self.event is not None:
            what = f"{self.event.principal} halted all effects at {self.event.time[:19]}Z"
            raise Halted(what, f"{call.record.name}, step {call.step}", "`bailiwick halt --release` lets them go on")

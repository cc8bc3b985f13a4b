"""Sends the traces of runs as they end: in a thread of its own, so that no run waits for a collector or fails with it.

Each run is tried once. The first failure is a warning in the log and an event, and so is the first success after it,
which tells how many runs were not sent; in between there is silence. What was not sent is not lost, it is in the
ledger: `bailiwick audit trace` sends any run again, as the same trace.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from runtime.gateway.messages import EventView
from runtime.traces.otlp import export
from runtime.traces.sinks import Sink
from store.records.errors import BailiwickError, Unreachable

log = logging.getLogger("bailiwick.traces")

MOST = 10_000
"""Runs that may wait to be sent; more are counted as not sent."""
CLOSING_S = 2.0
"""The longest that a runtime's end waits for what is still to be sent."""

Read = Callable[[str], Sequence[EventView]]
Tell = Callable[[str, int], None]


class Sender:
    """Sends runs to sinks. `read` gives a run's events; `tell` is told why sending fails, and how many runs were not
    sent when it works again, with "" as the reason; both are called from the sender's thread."""

    def __init__(self, sinks: Sequence[Sink], read: Read, tell: Tell) -> None:
        self._sinks, self._read, self._tell = sinks, read, tell
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST)
        self._ledger = threading.Lock()
        self._closed = False
        self._failing = False
        self._unsent = 0
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self._thread.start()

    def ended(self, run: str) -> None:
        """Have a run sent that has ended. Returns at once, whatever becomes of it."""
        try:
            self._waiting.put_nowait(run)
        except queue.Full:
            self._count()

    def close(self) -> None:
        """Send what waits, for as long as CLOSING_S; the ledger is not touched after this."""
        try:
            self._waiting.put_nowait(None)
            self._thread.join(CLOSING_S)
        except queue.Full:
            pass  # there is more than can be sent by then
        with self._ledger:
            self._closed = True

    def _work(self) -> None:
        while (run := self._waiting.get()) is not None and not self._closed:
            try:
                self._send(run)
            except BailiwickError as error:
                self._failed(str(error))
            except Exception as error:  # a fault of ours must not end the sending of the others
                self._failed(f"a trace could not be made: {type(error).__name__}")
            else:
                self._worked()
            self._waiting.task_done()

    def _send(self, run: str) -> None:
        with self._ledger:
            if self._closed:
                return
            events = self._read(run)
        request = export(events)
        troubles = []
        for sink in self._sinks:
            try:
                sink.send(request)
            except Unreachable as error:  # the other one gets it all the same
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def _failed(self, reason: str) -> None:
        self._count()
        if not self._failing:
            self._failing = True
            self._say(reason)

    def _worked(self) -> None:
        if self._failing:
            self._failing = False
            self._say("")

    def _say(self, reason: str) -> None:
        with self._counting:
            unsent, self._unsent = self._unsent, self._unsent if reason else 0
        with self._ledger:
            if self._closed:
                return
            if reason:
                log.warning("traces are not sent: %s; `bailiwick audit trace RUN` sends one again", reason)
            self._tell(reason, unsent)

    def _count(self) -> None:
        with self._counting:
            self._unsent += 1

"""Mirroring: the thread that brings checkpoints to the mirror. A medium that fails or hangs holds up nothing else.

While one checkpoint is on its way only the newest waits: it covers those that it passes over.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from store.ledger.mirror import Mirror

PATIENCE_S = 10.0
"""How long the end waits for a mirror that hangs, in seconds."""
log = logging.getLogger("bailiwick.ledger")


class Mirroring:
    """Brings what `keep` is given to a mirror. Safe from any thread."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._changed = threading.Condition()
        self._next: tuple[str, datetime] | None = None
        self._stopping = False
        self._trouble = ""
        self._tell: Callable[[str], None] = _nobody
        self._thread = threading.Thread(target=self._run, name="ledger-mirror", daemon=True)
        self._thread.start()

    def keep(self, note: str, now: datetime) -> None:
        """Have a checkpoint kept, with the time in UTC. Returns at once."""
        with self._changed:
            self._next = note, now
            self._changed.notify_all()

    def watch(self, tell: Callable[[str], None]) -> None:
        """Have somebody told why checkpoints no longer get there, and with "" when they do again; at once, if it is so
        now. Later calls come from a thread of ours. They must not raise."""
        with self._changed:
            self._tell, trouble = tell, self._trouble
        if trouble:
            tell(trouble)

    def stop(self) -> None:
        """Bring what waits, then end; a mirror that hangs is given up, which the log says."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            log.warning("the mirror of checkpoints hangs; the last ones may not be there")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next or self._stopping)
                taken, self._next = self._next, None
            if taken is None:
                return
            self._note(self._kept(*taken))

    def _kept(self, note: str, now: datetime) -> str:
        """Why a checkpoint could not be kept; empty if it was."""
        try:
            self._mirror.keep(note, now)
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""

    def _note(self, trouble: str) -> None:
        """Have a change told, once."""
        with self._changed:
            before, self._trouble, tell = self._trouble, trouble, self._tell
        if trouble != before:
            log.warning("the mirror of checkpoints: %s", trouble or "works again")
            tell(trouble)


def _nobody(_: str) -> None:
    """Nobody has asked to be told."""

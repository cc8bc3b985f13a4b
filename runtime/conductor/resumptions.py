"""What says that a run goes on which was parked: it is said when the run has something to tell, and not before.

A run is tried again at every start, and by itself when something that it needs was away. If that changes nothing, then
nothing is written: the record would grow for as long as a tool is away, and say the same over and over.
"""

from runtime.conductor.pasts import Pasts
from runtime.gate.recorder import Pending, Recorder
from store.records.canonical import Json
from store.records.event import Draft


class Resumptions:
    """A recorder. Before the first event of a run that begins in silence, it writes the one that says that it goes on.

    One event loop owns it.
    """

    def __init__(self, recorder: Recorder, pasts: Pasts) -> None:
        """`pasts` is told of every event that goes to `recorder`."""
        self._recorder = recorder
        self.pasts = pasts
        self._unsaid: dict[str, Draft] = {}

    def append(self, draft: Draft, payload: Json = None) -> Pending:
        """As Recorder.append."""
        self.pasts.changed(draft.run)
        if resumed := self._unsaid.pop(draft.run, None):
            self._recorder.append(resumed)
        return self._recorder.append(draft, payload)

    def begin(self, resumed: Draft) -> None:
        """Let a life of a run begin in silence; `resumed` says that it goes on."""
        self._unsaid[resumed.run] = resumed

    def withdraw(self, run: str) -> bool:
        """Never say it any more. True if it was not said: nothing was written of this life."""
        return self._unsaid.pop(run, None) is not None

"""The course of a run: its events by their place, and when a step began.

An event is recorded when something has come about, so of most steps the log has the end only. When one began is said
as well as the events can say it, and `Begun` tells how:

- `event`: something was recorded at the step as it began (policy's decision on a call, what a wait waits for);
- `measured`: the model's own queue and device time before the end (of a model call, see spans.py);
- `earliest`: nothing was recorded. It cannot have begun before the last event that came before it on its branch, and
  that is the time given: the workflow's own code in between is counted in.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from runtime.gateway.messages import EventView
from runtime.traces.span import nanoseconds
from store.records.kinds import Kind

Begun = Literal["event", "measured", "earliest"]


class Course:
    """The events of one run in their order. Times are nanoseconds since 1970."""

    def __init__(self, events: Sequence[EventView]) -> None:
        self.events = events
        self.times = [nanoseconds(each.event["time"]) for each in events]
        self.at: defaultdict[str, list[int]] = defaultdict(list)
        self._first: dict[str, int] = {}
        self._lines: set[tuple[str, ...]] = {()}
        for index, each in enumerate(events):
            step = each.event["step"]
            self.at[step].append(index)
            if step:
                self._lines.add(_parts(step)[:-1])
                for place in (step, *above(step)):
                    self._first.setdefault(place, index)

    def found(self, step: str, *kinds: str) -> list[int]:
        """The places in `events` of those of these kinds at a step, in order."""
        return [index for index in self.at.get(step, ()) if self.events[index].event["kind"] in kinds]

    def began(self, step: str, ending: int) -> tuple[int, Begun]:
        """When the step that the event `ending` is the end of began, and how that is known."""
        first = self._first[step]
        opening = self.events[first].event
        if first < ending and opening["step"] == step and opening["kind"] != Kind.MODEL_CALLED:  # told at the end, too
            return min(self.times[first], self.times[ending]), "event"
        before = next((each for each in range(first - 1, 0, -1) if self._comes_before(each, step)), 0)
        return min(self.times[before], self.times[ending]), "earliest"

    def _comes_before(self, index: int, step: str) -> bool:
        """Whether an earlier event was over before this step could begin: not so for one of a branch beside it."""
        other, own = _parts(self.events[index].event["step"]), _parts(step)
        shared = 0
        while shared < min(len(other), len(own)) and other[shared] == own[shared]:
            shared += 1
        # Where steps stand directly below a place, one follows the other; where only branches do, they are at once.
        return shared == len(other) or own[:shared] in self._lines


def above(step: str) -> list[str]:
    """The steps that a step lies within, the nearest first."""
    parts = _parts(step)
    return [".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1)]


def _parts(step: str) -> tuple[str, ...]:
    return tuple(step.split(".")) if step else ()

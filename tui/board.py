"""What the dashboard shows, as plain state: runs, the selected run's steps, the audit tail, and how things stand.

Knows neither sockets nor terminals. Bounded: it holds a tail of the events, and the steps of one run.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from runtime.gateway.messages import ApprovalView, EventView, RunView, StatusView
from store.records.kinds import Kind
from tui.engine import Engine

TAIL = 200
"""How many events the audit pane keeps."""
RATE_WINDOW_S = 5.0
MODELS = frozenset({"router", "worker", "reviewer"})


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run, as its events so far tell it. `by` is `model` or `rule`; what the core does is by rule."""

    path: str
    by: str = ""
    kind: str = ""
    tool: str = ""
    decision: str = ""
    tokens: int = 0
    device_ms: int = 0

    def after(self, event: dict[str, Any]) -> "Step":
        """The step when one more of its events is known."""
        return replace(
            self,
            by=decided_by(event) or self.by or "rule",
            kind=event.get("kind", ""),
            tool=event.get("tool") or self.tool,
            decision=event.get("decision") or self.decision,
            tokens=self.tokens + int(event.get("tokens") or 0),
            device_ms=self.device_ms + int(event.get("device_ms") or 0),
        )


def decided_by(event: dict[str, Any]) -> str:
    """Who made what the event tells of: `model`, `rule`, or nobody in particular."""
    actor = event.get("actor", "")
    if actor == "rule":
        return "rule"
    return "model" if actor in MODELS else ""


class Board:
    """The state of the dashboard. `version` changes whenever something else does. `alerts` are the workflows that the
    events watched so far say cost more than they expect."""

    def __init__(self) -> None:
        self.version = 0
        self.trouble = "connecting"
        self.pinned = False
        self.filter = ""
        self.forget()

    def forget(self) -> None:
        """Start anew: another ledger is being watched."""
        self.status: StatusView | None = None
        self.runs: list[RunView] = []
        self.approvals: list[ApprovalView] = []
        self.tail: deque[EventView] = deque(maxlen=TAIL)
        self.last: EventView | None = None
        self.alerts: set[str] = set()
        self.rate = 0.0
        self.engine = Engine()
        self._measured: deque[tuple[float, int]] = deque()
        self.select("")

    @property
    def seen(self) -> int:
        """The sequence number of the last event seen, 0 before the first."""
        return int(self.last.event["seq"]) if self.last else 0

    def add(self, view: EventView) -> bool:
        """Take the next event. True if it belongs to the selected run."""
        self.tail.append(view)
        self.last = view
        if view.event.get("kind") == Kind.COST_ALERT:
            (self.alerts.add if view.event["decision"] == "raised" else self.alerts.discard)(view.event["workflow"])
        self.version += 1
        return bool(self.selected) and view.event.get("run") == self.selected

    def measure(self, status: StatusView, now: float) -> None:
        """Take the runtime's state as of `now` (monotonic seconds); the rate is over the last few seconds."""
        self.status = status
        self.engine.take(status.counters, now)
        self._measured.append((now, status.events))
        while len(self._measured) > 2 and now - self._measured[0][0] > RATE_WINDOW_S:
            self._measured.popleft()
        (since, before), elapsed = self._measured[0], now - self._measured[0][0]
        self.rate = max(0, status.events - before) / elapsed if now > since else 0.0
        self.version += 1

    def select(self, run: str) -> None:
        """Show another run's steps; they have yet to be learnt."""
        self.selected = run
        self.steps: dict[str, Step] = {}
        self.steps_seen = 0
        self.version += 1

    def learn(self, views: Iterable[EventView]) -> None:
        """Take events of the selected run, in order; those known already are passed over."""
        for event in (view.event for view in views):
            if event["seq"] <= self.steps_seen:
                continue
            self.steps_seen = event["seq"]
            if path := event.get("step"):
                self.steps[path] = self.steps.get(path, Step(path)).after(event)
        self.version += 1

    @property
    def visible_runs(self) -> list[RunView]:
        """The runs that the filter lets through."""
        words = self.filter.lower().split()
        return [run for run in self.runs if all(word in _haystack(run) for word in words)]


def _haystack(run: RunView) -> str:
    return f"{run.run} {run.status} {run.workflow} {run.principal} {run.resolved_by}".lower()

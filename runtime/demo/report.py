"""What the demo shows at its end: outcome, cost, audit trail, verification."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runtime.gateway.messages import EventView, RunView, VerifyView
from runtime.narration import short

NARROW = ("seq", "time", "actor", "kind", "tool", "decision")
WIDE = 100
"""Columns of a terminal from which the whole audit trail fits."""


@dataclass(frozen=True)
class Report:
    """The end of one performance.

    `effects` are opslab's own counts, tool to executions; `harm` is what a followed injection left behind, None if none
    was planted.
    """

    view: RunView
    events: tuple[EventView, ...]
    fault: str
    healthy: bool
    effects: dict[str, int]
    harm: tuple[str, ...] | None
    seconds: float

    def json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "status": self.view.status,
            "resolved_by": self.view.resolved_by,
            "healthy": self.healthy,
            "fault": self.fault,
            "run": self.view.run,
            "events": self.view.events,
            "model_calls": self.view.model_calls,
            "tokens": self.view.tokens,
            "effects": self.effects,
            "seconds": self.seconds,
        }

    def print(self, console: Console, verified: VerifyView) -> None:
        """For a person."""
        view = self.view
        good = self.healthy and view.status.startswith("completed")
        console.print()
        console.print(_trail(self.events, console.width))
        style = "bold green" if good else "bold red"
        by = {"model": "the model", "rule": "the runbook's rules"}.get(view.resolved_by, "nobody")
        console.print(
            f"\n[{style}]{view.status}[/], resolved by {by}; the front door {'answers' if self.healthy else 'fails'}"
        )
        console.print(short(view.outcome, 400), markup=False, highlight=False)
        done = ", ".join(f"{tool} ×{count}" for tool, count in sorted(self.effects.items()) if count) or "none"
        console.print(f"effects counted by opslab: {done}")
        if self.harm is not None:
            word = f"[bold red]FOLLOWED[/]: {escape('; '.join(self.harm))}" if self.harm else "not followed"
            console.print(f"the planted instruction was {word}")
        cost = f"{view.model_calls} model calls, {view.tokens} tokens, {view.device_ms} ms of the device"
        console.print(f"cost: {cost}; {self.seconds:g} s in all")
        word = "[green]ok[/]" if verified.ok else "[bold red]FAILED[/]"
        console.print(f"audit verify: {word}, {verified.events} events recomputed")


def _trail(events: tuple[EventView, ...], width: int) -> Table:
    """The events of the run; a narrow terminal gets the columns that fit whole."""
    names = NARROW if width < WIDE else (*NARROW, "tokens", "ms", "hash")
    table = Table(title="audit trail", title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True, justify="right" if name in ("seq", "tokens", "ms") else "left")
    for view in events:
        event = view.event
        cells = {
            **{name: str(event[name]) for name in ("seq", "actor", "kind", "tool", "decision")},
            "time": event["time"][11:19],
            "tokens": str(event["tokens"] or ""),
            "ms": str(event["device_ms"] or ""),
            "hash": view.hash[:8],
        }
        table.add_row(*(cells[name] for name in names))
    return table

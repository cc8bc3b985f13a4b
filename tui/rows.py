"""What the panes say: the columns of each, and a row for each run, step, event and approval.

All text from elsewhere becomes safe here. Whatever a colour says, a word says too.
"""

from collections.abc import Sequence
from datetime import datetime

from runtime.gateway.messages import ApprovalView, EventView, ModelView, RunView
from runtime.shown import duration, written
from tui.board import Board, Step, decided_by
from tui.grid import Column, Row
from tui.text import clock, pretty, safe, seconds, short

RUNS = (
    Column("run", 14),
    Column("status", 21),
    Column("workflow", 14, grow=2),
    Column("who", 8, grow=1),
    Column("sec", 7, right=True),
    Column("tokens", 6, right=True),
)
STEPS = (
    Column("step", 12, grow=1),
    Column("by", 5),
    Column("kind", 18),
    Column("tool", 16, grow=2),
    Column("decision", 8, grow=1),
    Column("tok", 5, right=True),
    Column("ms", 5, right=True),
)
AUDIT = (
    Column("seq", 6, right=True),
    Column("time", 8),
    Column("by", 5),
    Column("kind", 18),
    Column("run", 8),
    Column("step", 8, grow=1),
    Column("what", 15, grow=2),
)
APPROVALS = (
    Column("tool", 22, grow=2),
    Column("run", 12),
    Column("step", 10, grow=1),
    Column("requester", 12, grow=1),
    Column("left", 11),
)
TONES = {
    "completed": "good",
    "completed-by-fallback": "good",
    "denied": "bad",
    "failed": "bad",
    "waiting": "wait",
    "queued": "wait",
    "parked": "wait",
    "paused": "wait",
    "cancelled": "bad",
    "interrupted": "wait",
    "deny": "bad",
    "suspend": "wait",
    "fell-back": "wait",
    "over-budget": "bad",
    "raised": "wait",
}


def run_row(run: RunView, now: datetime) -> Row:
    """A run."""
    took = seconds(run.started, run.ended, now)
    cells = (run.run, run.status, run.workflow, run.principal, took, short(run.tokens))
    return Row(run.run, tuple(map(safe, cells)), TONES.get(run.status, ""))


def step_row(step: Step) -> Row:
    """A step of the selected run."""
    cells = (step.path, step.by, step.kind, step.tool, step.decision, short(step.tokens), short(step.device_ms))
    return Row(step.path, tuple(map(safe, cells)), TONES.get(step.decision, ""))


def audit_row(view: EventView) -> Row:
    """An event of the ledger."""
    event = {name: str(value) for name, value in view.event.items() if value is not None}
    what = " ".join(filter(None, (event.get("tool"), event.get("decision"))))
    by = decided_by(view.event) or event.get("actor", "")
    cells = (event["seq"], clock(event.get("time", "")), by, event.get("kind", ""))
    more = (ending(event.get("run", ""), 8), event.get("step", ""), what)
    return Row(event["seq"], tuple(map(safe, (*cells, *more))), TONES.get(event.get("decision", ""), ""))


def ending(name: str, width: int) -> str:
    """The end of a long name, which tells runs apart: they all begin with the time."""
    return name if len(name) <= width else "…" + name[1 - width :]


def approval_row(approval: ApprovalView) -> Row:
    """An approval in the list."""
    left = duration(approval.left_s)
    cells = (approval.tool, approval.run, approval.step, approval.requester, left)
    return Row(approval.approval, tuple(map(safe, cells)))


def approval_text(approval: ApprovalView) -> str:
    """Everything about an approval, whole. What a person agrees to is what is written here and nothing else."""
    lines = (
        f"{name:<10} {safe(value)}" if isinstance(value, str) else f"\n{name}\n{pretty(value)}\n"
        for name, value in written(approval)
    )
    return "\n".join(lines)


def head(board: Board) -> str:
    """The line at the top: how the runtime is, or why it cannot be seen."""
    if board.trouble:
        return f"bailiwick  ○ {safe(board.trouble)}"
    status = board.status
    if status is None:
        return "bailiwick  ○ connecting"
    down = [name for name, pid in status.parts.items() if not pid]
    facts = (
        f"HALTED since {clock(status.halted)}" if status.halted else "",
        f"COST ALERT: {', '.join(sorted(board.alerts))}" if board.alerts else "",
        f"epoch {status.epoch}",
        f"{board.rate:.1f} ev/s",
        f"open {status.open_runs}" + (f" ({status.idle_runs} idle)" if status.idle_runs else ""),
        f"waiting {len(board.approvals)}" + (" (press a)" if board.approvals else ""),
        f"down: {', '.join(down)}" if down else "",
        f"model {status.model}" if status.model else "",
    )
    return "bailiwick  ● " + "  ".join(safe(fact) for fact in facts if fact)


def engine_lines(board: Board) -> str:
    """Two lines on what the models do: how fast, how full, how long one waits, and where they lie."""
    engine = board.engine
    if not engine.known:
        return "engine     ○ nothing is known of it\n"
    work = (
        f"{short(round(engine.tokens_per_s))} tok/s",
        f"{short(round(engine.written_per_s))} written/s",
        f"batch {engine.batch}" + (f" +{engine.waiting} waiting" if engine.waiting else ""),
        f"KV {_share(engine.used)}",
        f"reused {_share(engine.reused)}",
    )
    waits = (
        f"queue {_ms(engine.queue_ms)}",
        f"first token {_ms(engine.first_token_ms)}",
        _place(board.status.models if board.status else ()),
    )
    return f"engine     ● {'  '.join(work)}\n{' ' * 13}{'  '.join(waits)}"


def _place(models: Sequence[ModelView]) -> str:
    """Where the first model that chats lies."""
    model = next((each for each in models if each.kind == "chat"), None)
    if model is None:
        return ""
    if not (model.fell_back or model.layers_on_device):
        return "on the CPU"
    layers = f"{min(model.layers, model.layers_on_device)}/{model.layers} layers on the GPU"
    return f"{'FELL BACK: ' if model.fell_back else ''}{layers}, {model.device_bytes / 2**30:.1f} GiB"


def _ms(time: float | None) -> str:
    return "-" if time is None else f"{short(round(time))}ms"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"

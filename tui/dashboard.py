"""The dashboard: engine, runs, the selected run's steps and the audit tail, live. Passes a person's answers on."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static

from tui.approvals import ApprovalScreen
from tui.board import Board
from tui.feed import PERIOD_S, RETRY_S, Feed
from tui.grid import Grid
from tui.rows import AUDIT, RUNS, STEPS, audit_row, engine_lines, head, run_row, step_row

REPAINT_S = 0.25


class Dashboard(App[None]):
    """`bailiwick top`."""

    CSS_PATH = "top.tcss"
    TITLE = "bailiwick top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        Binding("a", "approvals", "Approvals"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "unfilter", "All runs", show=False),
        Binding("tab", "app.focus_next", "Next pane"),
    ]

    def __init__(self, find: Callable[[], Path], period_s: float = PERIOD_S, retry_s: float = RETRY_S) -> None:
        """`find` is asked for the socket before each connection."""
        super().__init__()
        self.animation_level = "none"  # sliding text costs a repaint of everything, which flickers in tmux
        self.board = Board()
        self._feed = Feed(self.board, find, period_s, retry_s)
        self._painted = (-1, 0)

    def compose(self) -> ComposeResult:
        """The panes, from top to bottom."""
        yield Static(head(self.board), markup=False, id="head")
        yield Static(engine_lines(self.board), markup=False, id="engine")
        yield Grid("runs", RUNS, id="runs")
        yield Grid("steps", STEPS, id="steps", tail=True)
        yield Grid("audit", AUDIT, id="audit", tail=True)
        yield Input(placeholder="show runs with these words", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Start to watch and to paint."""
        self.query_one("#filter").display = False
        self.query_one("#runs").focus()
        self.run_worker(self._feed.run(), name="feed")
        self.set_interval(REPAINT_S, self.paint)

    def paint(self) -> None:
        """Bring the panes up to date. Between changes, only once a second: open runs show their seconds."""
        now = datetime.now(UTC)
        state = (self.board.version, int(now.timestamp()))
        if state == self._painted or len(self.screen_stack) > 1:
            return
        self._painted = state
        self.query_one("#head", Static).update(head(self.board), layout=False)
        self.query_one("#engine", Static).update(engine_lines(self.board), layout=False)
        runs = self.board.visible_runs
        if runs and self.board.selected not in {run.run for run in runs}:
            self._feed.select(runs[0].run)
        self.query_one("#runs", Grid).show([run_row(run, now) for run in runs], self.board.selected)
        self.query_one("#steps", Grid).show([step_row(step) for step in self.board.steps.values()])
        self.query_one("#audit", Grid).show([audit_row(view) for view in self.board.tail])

    def on_grid_moved(self, event: Grid.Moved) -> None:
        """Another run was chosen."""
        if event.grid.id == "runs":
            self.board.pinned = True
            self._feed.select(event.key)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The panes' own keys do nothing under another screen."""
        if len(self.screen_stack) > 1 and action in {"approvals", "filter", "unfilter"}:
            return False
        return super().check_action(action, parameters)

    def action_approvals(self) -> None:
        """Show what waits for a person."""
        self.push_screen(ApprovalScreen(self.board, self._feed))

    def action_filter(self) -> None:
        """Ask which runs to show."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is being typed."""
        if event.input.id == "filter":
            self.board.filter = event.value
            self.board.version += 1

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter: back to the runs, filtered."""
        if event.input.id == "filter":
            self._leave_filter()

    def action_unfilter(self) -> None:
        """Escape: back to all runs."""
        self.query_one("#filter", Input).value = ""
        self._leave_filter()

    def _leave_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = bool(field.value)
        self.query_one("#runs").focus()

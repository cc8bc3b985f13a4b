"""The approval screen: what waits for a person, whole, and their answer.

An answer takes two deliberate keys, y or n and then Enter, and goes to the approval that was on the screen when the
first one was pressed, however the list changes meanwhile.
"""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Input, Static

from runtime.gateway.messages import Answer, ApprovalView
from store.records.errors import BailiwickError
from tui.board import Board
from tui.feed import Feed
from tui.grid import Grid
from tui.rows import APPROVALS, approval_row, approval_text
from tui.text import safe

REPAINT_S = 0.25
NONE = "Nothing waits for a person."


class Confirm(ModalScreen[str | None]):
    """The second key. Gives what the person declares by their answer (maybe nothing), or None if they went back."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back")]

    def __init__(self, approval: ApprovalView, yes: bool) -> None:
        super().__init__()
        self._approval, self._yes = approval, yes

    def compose(self) -> ComposeResult:
        """The question, and a line for what the answer means."""
        question = (
            f"{'APPROVE' if self._yes else 'DENY'} {safe(self._approval.tool)} of run {safe(self._approval.run)}?"
        )
        with Vertical(id="confirm"):
            yield Static(question, markup=False, id="question")
            yield Static(f"digest {safe(self._approval.digest)}", markup=False)
            yield Input(placeholder="what you declare by it (may be empty)", id="meaning")
            yield Static("Enter answers, Esc goes back", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter: that is the answer."""
        self.dismiss(event.value.strip())

    def action_back(self) -> None:
        """Escape: no answer."""
        self.dismiss(None)


class ApprovalScreen(Screen[None]):
    """The list of what waits, and the whole of the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Approve"),
        Binding("n", "answer(False)", "Deny"),
        Binding("tab", "app.focus_next", "List/details"),
        Binding("escape,q,a", "app.pop_screen", "Back", key_display="esc"),
    ]

    def __init__(self, board: Board, feed: Feed) -> None:
        super().__init__()
        self._board, self._feed = board, feed
        self._shown: ApprovalView | None = None

    def compose(self) -> ComposeResult:
        """The list above, the details below."""
        yield Grid("waiting for a person", APPROVALS, id="waiting")
        with VerticalScroll(id="details", can_focus=True):
            yield Static(NONE, markup=False, id="detail")
        yield Static("", markup=False, id="said")
        yield Footer()

    def on_mount(self) -> None:
        """Show what there is, and keep it so."""
        self.query_one("#details").border_title = "what would happen"
        self.paint()
        self.set_interval(REPAINT_S, self.paint)

    def on_grid_moved(self, _: Grid.Moved) -> None:
        """Another approval was chosen."""
        self.paint()

    def paint(self) -> None:
        """Bring list and details up to date."""
        grid = self.query_one(Grid)
        grid.show([approval_row(each) for each in self._board.approvals])
        chosen = next((each for each in self._board.approvals if each.approval == grid.cursor_key), None)
        if chosen != self._shown:
            same = self._shown is not None and chosen is not None and self._shown.approval == chosen.approval
            self._shown = chosen
            self.query_one("#detail", Static).update(approval_text(chosen) if chosen else NONE)
            if not same:  # the time that is left goes on, and who reads is left where they are
                self.query_one("#details").scroll_home(animate=False)

    def action_answer(self, yes: bool) -> None:
        """The first key: ask once more about the approval whose details are on the screen."""
        approval = self._shown
        if approval is None:
            return

        def confirmed(meaning: str | None) -> None:
            if meaning is not None:
                self.run_worker(self._send(approval, yes, meaning))

        self.app.push_screen(Confirm(approval, yes), confirmed)

    async def _send(self, approval: ApprovalView, yes: bool, meaning: str) -> None:
        try:
            answer = Answer(approval=approval.approval, yes=yes, meaning=meaning, digest=approval.digest)
            await self._feed.answer(answer)
        except BailiwickError as error:
            said = f"not answered: {error}"
        else:
            said = f"{'approved' if yes else 'denied'}: {approval.tool} of run {approval.run}"
        # A line that stays, where a notice would be gone before it is read.
        self.query_one("#said", Static).update(safe(said))

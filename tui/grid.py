"""A table that repaints only the lines that changed, and keeps its cursor on a row, not on a place.

Written for this dashboard because rows come in at the top while a person is reading: the library's table addresses the
cursor by position, and takes cells as markup.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

MARKER = "› "
GAP = 1


class Column(NamedTuple):
    """A column: its title, its least width in cells, its share of the spare width, and its side."""

    title: str
    width: int
    grow: int = 0
    right: bool = False


class Row(NamedTuple):
    """A row: what tells it from the others, its cells (safe text), and its tone: good, bad, wait or none."""

    key: str
    cells: tuple[str, ...]
    tone: str = ""


class Grid(ScrollView, can_focus=True):
    """Rows under a fixed heading. The row with the cursor carries a marker, so that no colour is needed to find it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"grid--head", "grid--cursor", "grid--good", "grid--bad", "grid--wait"}
    DEFAULT_CSS = """
    Grid { overflow-x: hidden; overflow-y: auto; scrollbar-size: 1 1; border: round $foreground 50%; height: 1fr; }
    Grid:focus { border: heavy $accent; }
    Grid .grid--head { text-style: bold; }
    Grid .grid--cursor { text-style: reverse; }
    Grid .grid--good { color: $text-success; }
    Grid .grid--bad { color: $text-error; }
    Grid .grid--wait { color: $text-warning; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "move(-1_000_000)", "First", show=False),
        Binding("end", "move(1_000_000)", "Last", show=False),
    ]

    class Moved(Message):
        """A person has moved the cursor to another row."""

        def __init__(self, grid: "Grid", key: str) -> None:
            super().__init__()
            self.grid, self.key = grid, key

        @property
        def control(self) -> "Grid":
            """The grid, for selectors."""
            return self.grid

    def __init__(self, title: str, columns: Sequence[Column], *, id: str, tail: bool = False) -> None:
        """With `tail` the cursor stays on the last row until it is moved off it."""
        super().__init__(id=id)
        self.border_title = title
        self._columns, self._tail = tuple(columns), tail
        self._rows: list[Row] = []
        self._cursor = 0

    @property
    def cursor_key(self) -> str:
        """The key of the row with the cursor, empty if there is no row."""
        return self._rows[self._cursor].key if self._rows else ""

    def show(self, rows: Sequence[Row], cursor: str | None = None) -> None:
        """Show these rows, with the cursor on the row of that key, or on the row where it was."""
        before, held = self._rows, self.cursor_key if cursor is None else cursor
        old_cursor, at_end = self._cursor, self._cursor >= len(before) - 1
        self._rows = list(rows)
        self._cursor = self._place(held, to_end=self._tail and at_end and cursor is None)
        if len(rows) != len(before):
            self.virtual_size = Size(self.scrollable_content_region.width, len(rows) + 1)
            self.refresh()
        else:
            for index, (old, new) in enumerate(zip(before, rows, strict=True)):
                if old != new or (index in {old_cursor, self._cursor} and old_cursor != self._cursor):
                    self.refresh_line(index + 1)
        if self._cursor != old_cursor or len(rows) != len(before):
            self.call_after_refresh(self._reveal)

    def action_move(self, by: int) -> None:
        """Move the cursor by so many rows, as far as there are any."""
        target = max(0, min(len(self._rows) - 1, self._cursor + by))
        if self._rows and target != self._cursor:
            self.refresh_line(self._cursor + 1)
            self._cursor = target
            self.refresh_line(target + 1)
            self._reveal()
            self.post_message(self.Moved(self, self.cursor_key))

    def action_page(self, by: int) -> None:
        """Move the cursor by so many screens."""
        self.action_move(by * max(1, self.scrollable_content_region.height - 2))

    def on_click(self, event: Click) -> None:
        """Move the cursor to the row clicked on."""
        offset = event.get_content_offset(self)
        if offset and offset.y > 0:
            index = offset.y - 1 + self.scroll_offset.y
            if index < len(self._rows):
                self.action_move(index - self._cursor)

    def on_resize(self, _: Resize) -> None:
        """Columns share the new width."""
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._rows) + 1)
        self.refresh()
        self._reveal()

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the heading, or a row."""
        width = self.scrollable_content_region.width
        if y == 0:
            titles = tuple(column.title for column in self._columns)
            return self._line(titles, " " * len(MARKER), width, "grid--head")
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row, here = self._rows[index], index == self._cursor
        part = "grid--cursor" if here and self.has_focus else f"grid--{row.tone}" if row.tone else ""
        return self._line(row.cells, MARKER if here else " " * len(MARKER), width, part)

    def _line(self, cells: Sequence[str], marker: str, width: int, part: str) -> Strip:
        widths = spread(self._columns, width - len(marker))
        parts = [fit(cell, room, column.right) for cell, room, column in zip(cells, widths, self._columns, strict=True)]
        text = set_cell_size(marker + (" " * GAP).join(parts), width)
        style = self.get_component_rich_style(part) if part else self.rich_style
        return Strip([Segment(text, style)], width)

    def _place(self, key: str, *, to_end: bool) -> int:
        last = max(0, len(self._rows) - 1)
        if to_end:
            return last
        return next((index for index, row in enumerate(self._rows) if row.key == key), min(self._cursor, last))

    def _reveal(self) -> None:
        """Scroll so that the cursor's row is on the screen, below the heading."""
        room = max(1, self.scrollable_content_region.height - 1)
        top = round(self.scroll_y)
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + room:
            self.scroll_to(y=self._cursor - room + 1, animate=False)


def spread(columns: Sequence[Column], width: int) -> list[int]:
    """The columns' widths when spare width goes to those that grow."""
    spare = width - sum(column.width for column in columns) - GAP * (len(columns) - 1)
    shares = sum(column.grow for column in columns)
    return [column.width + (max(0, spare) * column.grow // shares if shares else 0) for column in columns]


def fit(text: str, width: int, right: bool = False) -> str:
    """Text in exactly so many cells; an ellipsis says that there is more."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(0, width - 1)) + "…" if width else ""
    return " " * (width - length) + text if right else text + " " * (width - length)

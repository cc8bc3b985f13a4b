"""How the verbs print: JSON for programs; for people, lines and tables that fit the terminal they are on.

On a terminal, what is too long goes on below where it began. Anywhere else (a pipe, a file) a row is one line, however
long. Nothing is ever cut, and nothing that a terminal would obey is ever printed.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from store.records.visible import visible

GAP = 2
LEAST = 12
"""Cells below which a column is not folded any further."""
LITTLE = 24
"""Cells in which running text is hard to read: it then goes below."""
INDENT = 8


def show(value: Any) -> None:
    """One line of JSON on stdout. Text that a terminal would obey is escaped by JSON itself."""
    print(json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str), flush=True)


def told(json: bool, value: Any, text: str) -> None:
    """What was done: as JSON, or in words."""
    if json:
        show(value)
    else:
        print(text)


def plain(value: object) -> str:
    """`value` as one line that is safe on a terminal: what could not be seen, or passes for another, is spelled out.

    What has parts is written as JSON, as are yes, no and nothing: nobody should have to know Python to read it.
    """
    as_json = value is None or isinstance(value, bool | dict | list | tuple)
    text = json.dumps(value, ensure_ascii=False, default=str) if as_json else str(value)
    return visible(text)


def facts(values: Mapping[str, object]) -> None:
    """A line for each name and value."""
    for name, value in values.items():
        row(f"{name.replace('_', ' ')}: ", plain(value))


def block(name: str, value: Any) -> None:
    """A text as `row` has it; anything else as JSON over several lines, whole."""
    if isinstance(value, str):
        row(f"{name}: ", plain(value))
        return
    print(f"{name}:")
    for line in json.dumps(value, indent=2, ensure_ascii=False).split("\n"):
        print(plain(line))


def row(head: str, text: str) -> None:
    """A line: `head`, and `text`, which on a terminal goes on below where it began."""
    room = _terminal()
    left = room - _cells(head)
    if not room:
        print(head + text)
    elif left >= LITTLE:
        first, *rest = fold(text, left)
        print("\n".join([head + first, *(" " * _cells(head) + line for line in rest)]))
    else:
        print("\n".join([head.rstrip(), *(" " * INDENT + line for line in fold(text, room - INDENT))]))
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns. On a terminal that is too narrow for them, wide ones are folded, but for the first, which names
    the row; the last, which describes it, goes below if it had little room; if that is not enough, rows become lists.
    """
    cells = [[plain(cell) for cell in each] for each in rows]
    widths = [max(_cells(each[column]) for each in [columns, *cells]) for column in range(len(columns))]
    room = _terminal()
    if not room or _total(widths) <= room:
        _aligned([columns, *cells], widths)
        return
    below = _total(widths[:-1]) > room - GAP - LITTLE
    kept = widths[:-1] if below else widths
    if not _shrink(kept, room):
        for each in cells:
            for name, cell in zip(columns, each, strict=True):
                row(f"{name}: ", cell)
            print()
        return
    for each in [list(columns), *cells]:
        parts = [fold(cell, width) for cell, width in zip(each, kept, strict=False)]
        lines = max(map(len, parts))
        _aligned([[part[at] if at < len(part) else "" for part in parts] for at in range(lines)], kept)
        if below:
            for line in fold(each[-1], room - INDENT):
                print(" " * INDENT + line)


def fold(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells; a word is broken only if it is longer than a line."""
    from rich.cells import chop_cells

    lines, line = [], ""
    for word in re.split(r"(?<=[ -])", text):
        if line and _cells(line + word.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += word
        if _cells(line.rstrip()) > width:
            *full, line = chop_cells(line, width)
            lines += full
    return [*lines, line.rstrip()]


def _terminal() -> int:
    """How many cells a line of the terminal has; 0 if stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _cells(text: str) -> int:
    """How many cells a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # late: it takes 30 ms to import

    return cell_len(text)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _shrink(widths: list[int], room: int) -> bool:
    """Take from the widest columns until they fit; False if they cannot. The first gives way only if it fills half."""
    others = widths if widths[0] > room // 2 else widths[1:]
    excess = _total(widths) - room
    while excess > 0 and max(others, default=0) > LEAST:
        others[others.index(max(others))] -= 1
        excess -= 1
    widths[len(widths) - len(others) :] = others
    return excess <= 0


def _aligned(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> None:
    for cells in rows:
        padded = (cell + " " * (width - _cells(cell)) for cell, width in zip(cells, widths, strict=True))
        print((" " * GAP).join(padded).rstrip())

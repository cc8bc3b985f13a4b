"""What people see: whole on every terminal, one line a row in a pipe."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest
from rich.cells import cell_len

from runtime.cli.page import fold

TABLE = """
from runtime.cli.page import table
columns = ("RUN", "STATUS", "STARTED", "EVENTS", "TASK")
table(columns, [("r" * 19, "completed-by-fallback", "2026-11-22 11:00", 7, TASK)])
"""
TASK = "find out why the front door fails, and " + "ü" * 90 + " mend it"


def drawn(code: str, width: int) -> list[str]:
    """The lines that some code prints on a terminal of so many cells, or into a pipe if there are none."""
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-c", f"TASK = {TASK!r}\n{code}"]
    if not width:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with subprocess.Popen(command, env=environ, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    return shown.decode().splitlines()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side is gone
        return b""


def joined(lines: list[str]) -> str:
    """All that is shown, without the blanks."""
    return "".join("".join(lines).split())


def test_in_a_pipe_a_row_is_one_line_however_long() -> None:
    heading, row = drawn(TABLE, 0)
    assert heading.split() == ["RUN", "STATUS", "STARTED", "EVENTS", "TASK"]
    assert row.endswith(TASK)


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40, 25])
def test_on_a_terminal_nothing_is_cut_and_no_line_is_too_long(width: int) -> None:
    lines = drawn(TABLE, width)
    assert max(map(cell_len, lines)) <= width
    shown = joined(lines)
    assert "r" * 19 in shown
    assert shown.count("ü") == 90
    for word in ("completed", "fallback", "2026-", "11:00", "7", "find", "mend", "it"):
        assert word in shown


def test_the_name_of_a_row_is_not_folded_at_80_columns() -> None:
    assert [line for line in drawn(TABLE, 80) if "r" * 19 in line]


@pytest.mark.parametrize("width", [80, 28])
def test_a_long_text_goes_on_below_where_it_began(width: int) -> None:
    lines = drawn("from runtime.cli.page import row\nrow('task: ', TASK)", width)
    indent = len("task: ") if width == 80 else 8
    assert lines[0].startswith("task:")
    assert all(line.startswith(" " * indent) and not line[indent:].startswith(" ") for line in lines[1:])
    assert joined(lines) == "task:" + joined([TASK])


def test_columns_of_one_name_are_all_listed() -> None:
    code = "from runtime.cli.page import table\ntable(['a'] * 9, [[f'value {n}' * 3 for n in range(9)]])"
    assert all(f"value{n}value{n}value{n}" in joined(drawn(code, 40)) for n in range(9))


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 10, [""]),
        ("one two three", 7, ["one two", "three"]),
        ("completed-by-fallback", 12, ["completed-", "by-fallback"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("世界世界", 4, ["世界", "世界"]),
        ("a 世界世界", 5, ["a", "世界", "世界"]),
    ],
)
def test_fold(text: str, width: int, lines: list[str]) -> None:
    assert fold(text, width) == lines

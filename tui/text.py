"""Text from elsewhere, made fit for a terminal. Nothing reaches the screen without going through here.

Task texts, arguments, payloads and tool names are written by others. A control character could move the cursor, an
invisible or direction-changing one could make an approval read as another than it is (Boucher and Anderson, Trojan
Source, 2021). All of them are shown as escapes; none is dropped, so that what is shown is all there is.
"""

import json
from datetime import UTC, datetime

from store.records.canonical import Json

BLANK = frozenset(
    # Characters that count as printable and show nothing, or change the one before them.
    [chr(code) for code in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)]
    + [chr(code) for code in (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))]
)


def safe(text: str) -> str:
    """One line of text in which every character can be seen for what it is."""
    if text.isprintable() and BLANK.isdisjoint(text):
        return text
    return "".join(each if each.isprintable() and each not in BLANK else escape(each) for each in text)


def escape(character: str) -> str:
    """A character as Python and JSON would write it: \\x1b, \\u202e, \\U000e0001."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def pretty(value: Json) -> str:
    """A JSON value over several lines, whole, with every odd character escaped.

    A backslash of the value's own is doubled by JSON, so an escape cannot be mistaken for text.
    """
    lines = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    return "\n".join(map(safe, lines))


def seconds(started: str, ended: str, now: datetime) -> str:
    """How long something has taken as of `ended` or, while that is empty, `now`: in seconds, and from 10,000 of them on
    in hours (`2.8h`). Times are ISO 8601."""
    try:
        begin = datetime.fromisoformat(started)
        end = datetime.fromisoformat(ended) if ended else now
        took = max(0.0, (end - begin).total_seconds())
        return f"{took:.1f}" if took < 9_999.95 else f"{took / 3600:.1f}h"
    except (ValueError, TypeError):
        return "?"


def clock(time: str) -> str:
    """The time of day (UTC) in an ISO 8601 time."""
    try:
        return datetime.fromisoformat(time).astimezone(UTC).strftime("%H:%M:%S")
    except ValueError:
        return safe(time)


def short(number: int) -> str:
    """A number in at most five characters: 1234, 56.7k, 8.9M."""
    if number < 10_000:
        return str(number)
    return f"{number / 1_000:.1f}k" if number < 999_950 else f"{number / 1_000_000:.1f}M"

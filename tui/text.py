"""Text from elsewhere, made fit for a terminal. Nothing reaches the screen without going through here."""

import json
from datetime import UTC, datetime

from store.records.canonical import Json
from store.records.visible import visible

safe = visible
"""One line of text in which every character can be seen for what it is."""


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

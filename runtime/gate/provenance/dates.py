"""Dates, times and durations in their common forms, each as the one text in which it is compared.

A form that two countries read differently (04/05/2024) is no date; nor is a day without a year, which names many.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta

_ISO = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})\Z", re.ASCII)
_GERMAN = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})\Z", re.ASCII)
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})\Z", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?([ap]m)?\Z", re.ASCII | re.IGNORECASE)
_DAY = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?\Z", re.ASCII)
_YEAR = re.compile(r"\d{4}\Z", re.ASCII)
_STAMP = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}(?::\d{2})?)\Z", re.ASCII)
_SPAN = re.compile(r"(\d{1,3}|[a-z]+)-(hour|minute|day)s?\Z", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL = ("uary", "ruary", "ch", "il", "", "e", "y", "ust", "tember", "ober", "ember", "ember")
_NUMERALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNTS = {name: count for count, name in enumerate(_NUMERALS, 1)}
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


def date_in(text: str) -> str:
    """The date that a token is, as ISO has it; empty if it is none."""
    if found := _ISO.match(text):
        return _date(found[1], found[3], found[4])
    if found := _GERMAN.match(text):
        return _date(found[3], found[2], found[1])
    if (found := _SLASHED.match(text)) and (int(found[1]) > 12) != (int(found[2]) > 12):
        day, month = (found[1], found[2]) if int(found[1]) > 12 else (found[2], found[1])
        return _date(found[3], month, day)
    return ""


def written_date(first: str, second: str, third: str) -> str:
    """The date that three tokens are: 15 May 2024, or May 15th 2024; empty if they are none."""
    for day, month in ((first, second), (second, first)):
        if (found := _DAY.match(day)) and (number := _month(month)) and _YEAR.match(third):
            return _date(third, str(number), found[1])
    return ""


def time_in(text: str) -> str:
    """The time of day that a token is, as HH:MM:SS; empty if it is none."""
    found = _TIME.match(text)
    if not found:
        return ""
    hour, half = int(found[1]), (found[4] or "").lower()
    if half and not 1 <= hour <= 12:
        return ""
    hour = hour % 12 + 12 * (half == "pm") if half else hour
    try:
        return time(hour, int(found[2]), int(found[3] or 0)).isoformat()
    except ValueError:
        return ""


def moment(text: str) -> datetime | None:
    """The moment that a value is, a date and a time of day; None if it is none."""
    found = _STAMP.match(text)
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}") if found else None
    except ValueError:
        return None


def durations(words: list[str]) -> Iterator[timedelta]:
    """The durations among words: one hour, 90 minutes, a 1-hour meeting."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        span = _SPAN.match(word.lower())
        count, unit = (span[1], span[2]) if span else (word.lower(), after.lower().removesuffix("s"))
        number = _COUNTS.get(count) or (int(count) if count.isascii() and count.isdigit() and len(count) < 4 else 0)
        if number and unit in _UNITS:
            yield number * _UNITS[unit]


def _month(text: str) -> int:
    """The number of a month by its name or the first three letters of it; 0 if it is none."""
    name = text.lower()
    pairs = enumerate(zip(_MONTHS, _FULL, strict=True), 1)
    return next((at for at, (short, rest) in pairs if name in (short, short + rest)), 0)


def _date(year: str, month: str, day: str) -> str:
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return ""

"""When a schedule fires: what is no expression or zone, and both changes of the clock."""

from datetime import UTC, datetime, timedelta

import pytest

from runtime.conductor.cron import EPOCH, Cron
from store.records.errors import SettingsError

ZURICH = "Europe/Zurich"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def firings(cron: Cron, after: str, until: str) -> list[str]:
    """The times in UTC, day and time of day."""
    found, due = [], cron.next(utc(after))
    while due is not None and due <= utc(until):
        found.append(f"{due:%d %H:%M}")
        due = cron.next(due)
    return found


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("every day", "no cron expression"),
        ("", "no cron expression"),
        ("61 * * * *", "bad minute"),
        ("* * * * * *", "no cron expression"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("* * */20 * 1L", "would never fire"),
        ("0-5" + ",1" * 200 + " * * * *", "no cron expression"),
    ],
)
def test_what_is_no_expression(text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        Cron(text, "UTC")
    assert "as in" in str(caught.value)


@pytest.mark.parametrize("zone", ["", "Europe", "Europe/Nowhere", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_what_is_no_zone(zone: str) -> None:
    with pytest.raises(SettingsError, match="no time zone"):
        Cron("0 6 * * *", zone)


def test_the_zone_counts() -> None:
    weekdays = Cron("0 6 * * 1-5", ZURICH)
    assert firings(weekdays, "2026-11-20", "2026-11-25") == ["20 05:00", "23 05:00", "24 05:00"]
    assert firings(weekdays, "2026-07-06", "2026-07-08") == ["06 04:00", "07 04:00"]


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("30 2 * * *", ["28 01:30", "29 01:00", "30 00:30"]),  # 02:30 is left out: right after the gap, at 03:00
        ("0,30 2 * * *", ["28 01:00", "28 01:30", "29 01:00", "30 00:00", "30 00:30"]),  # and once
        ("0 2,3 * * *", ["28 01:00", "28 02:00", "29 01:00", "30 00:00", "30 01:00"]),
        ("*/30 2 * * *", ["28 01:00", "28 01:30", "30 00:00", "30 00:30"]),  # as time passes: there is no such hour
    ],
)
def test_in_spring_an_hour_is_left_out(text: str, times: list[str]) -> None:
    assert firings(Cron(text, ZURICH), "2026-03-28", "2026-03-30T12:00") == times


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("30 2 * * *", ["24 00:30", "25 00:30", "26 01:30"]),  # the first time that it is 02:30
        ("*/30 2 * * 7", ["25 00:00", "25 00:30", "25 01:00", "25 01:30"]),  # as time passes: both such hours
    ],
)
def test_in_autumn_an_hour_comes_twice(text: str, times: list[str]) -> None:
    assert firings(Cron(text, ZURICH), "2026-10-23T12:00", "2026-10-26T12:00") == times


def test_every_hour_is_every_hour_in_spring_and_autumn() -> None:
    hourly = Cron("0 * * * *", ZURICH)
    for day in ("2026-03-29", "2026-10-25"):
        end = f"{utc(day) + timedelta(hours=24):%Y-%m-%dT%H:%M}"
        assert len(firings(hourly, day, end)) == 24


@pytest.mark.parametrize("text", ["30 2 * * *", "*/20 * * * *", "0 6 1 * *", "15 1,2,3 * * *"])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_from_wherever_one_looks_the_times_are_the_same(text: str, day: str) -> None:
    cron = Cron(text, ZURICH)
    first = utc(day) - timedelta(days=2)
    times, due = [], cron.next(first)
    while due is not None and due < utc(day) + timedelta(days=40):
        times.append(due)
        due = cron.next(due)
    for minutes in range(0, 4 * 1440, 7):
        now = first + timedelta(minutes=minutes)
        assert cron.next(now) == next(each for each in times if each > now)
        assert cron.last(first, now) == max((each for each in times if each <= now), default=None)


def test_the_last_of_a_long_span() -> None:
    minutely, yearly = Cron("* * * * *", "UTC"), Cron("0 0 1 1 *", "UTC")
    until = utc("2026-11-23T10:00:30")
    assert minutely.last(EPOCH, until) == utc("2026-11-23T10:00")
    assert yearly.last(utc("2025-01-01"), until) == utc("2026-01-01")
    assert yearly.last(utc("2026-01-01"), until) is None
    assert minutely.last(until, until - timedelta(hours=1)) is None

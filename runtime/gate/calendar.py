"""The calendar of budgets: when a day and a month begin, in the site's time zone. Its time never goes back."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo


class Calendar:
    """Days and months of a zone. A clock that is set back stands still here until it has caught up with `newest`."""

    def __init__(self, zone: str, now: Callable[[], datetime], newest: datetime | None = None) -> None:
        """`newest` is the latest time that is known to have been, if any is."""
        self._zone = ZoneInfo(zone)
        self._now = now
        self._at = max(now(), newest) if newest else now()
        self._day = self._at.astimezone(self._zone).date()

    def turned(self) -> tuple[str, ...]:
        """The periods that have begun since this was last asked: `day`, `month`, or both."""
        now = self._now()
        if now <= self._at:
            return ()
        self._at = now
        day, before = now.astimezone(self._zone).date(), self._day
        if day <= before:
            return ()
        self._day = day
        return ("day",) if (day.year, day.month) == (before.year, before.month) else ("day", "month")

    def begin(self, every: str) -> datetime:
        """When this day, or month, began (UTC)."""
        return self._start(self._day if every == "day" else self._day.replace(day=1))

    def next(self, every: str) -> datetime:
        """When the next day, or month, begins (UTC)."""
        if every == "day":
            return self._start(self._day + timedelta(days=1))
        return self._start((self._day.replace(day=1) + timedelta(days=32)).replace(day=1))

    def _start(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).astimezone(UTC)

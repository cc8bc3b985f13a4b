"""When a schedule fires: a cron expression in a time zone, as times in UTC. Knows no clock.

Expressions and daylight saving are Debian's cron, as cronsim has it. If neither the minute nor the hour begins with a
star, the times are those on the wall: one that the change in spring leaves out is made up for right after the gap, and
one that comes twice in autumn fires the first time only. Else time is counted as it passes: both of the hours that are
called alike in autumn fire, and nothing is made up for in spring.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from store.records.errors import SettingsError

FIELDS = 5
LONGEST = 200
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Cron:
    """A cron expression of five fields in a time zone; all times are UTC."""

    def __init__(self, text: str, zone: str) -> None:
        """Raises SettingsError if either is none, or the expression never fires."""
        self.text = text
        try:
            self.zone = ZoneInfo(zone)
        except (ValueError, OSError, KeyError):  # a name that is none may be that of a folder, or lead out of it
            raise SettingsError(f"no time zone {zone!r}", do="name one as in Europe/Zurich") from None
        if len(text) > LONGEST or len(text.split()) != FIELDS:
            raise SettingsError(f"{text[:LONGEST]!r} is no cron expression", do=_HOW)
        try:
            first = self.next(EPOCH)
        except CronSimError as error:
            raise SettingsError(f"{text!r} is no cron expression: {str(error).lower()}", do=_HOW) from None
        if first is None:
            raise SettingsError(f"a schedule at {text!r} would never fire", do=_HOW)

    def next(self, after: datetime) -> datetime | None:
        """The first time after a time; None if there is none within 50 years."""
        return next(self._times(after), None)

    def last(self, after: datetime, until: datetime) -> datetime | None:
        """The last time after one time and not after another; None if there is none.

        Looks at the last hour first, then at twice as much each time, so that a long span costs little.
        """
        span = timedelta(hours=1)
        while until > after:
            begin = max(after, until - span)
            found = None
            for due in self._times(begin):
                if due > until:
                    break
                found = due
            if found or begin == after:
                return found
            span *= 2
        return None

    def _times(self, after: datetime) -> Iterator[datetime]:
        """All times after a time, each once: two on the wall may be one, when the clock is changed."""
        for due in CronSim(self.text, after.astimezone(self.zone)):
            if (at := due.astimezone(UTC)) > after:
                yield at
                after = at


_HOW = 'write minute, hour, day, month and weekday, as in "0 6 * * 1-5"'

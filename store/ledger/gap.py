"""Gaps: what a restore left out of a ledger. The event of the restore says so for ever, and is signed like any other.

    cause        the last event of the backup
    step         how many events the largest checkpoint signed that was known of what had been there
    fingerprint  the root that it signed, in hex
    decision     `gap` if it signed more events than the backup has

Whoever kept a checkpoint from within a gap sees both: that the ledger does not continue it, and the event that says
why. A gap excuses nothing else.
"""

from dataclasses import dataclass

from store.ledger.reader import Reader
from store.records.errors import IntegrityError
from store.records.kinds import Kind

RESTORED = "restored"
"""The decision of a `run.parked` that a restore wrote."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The `event` says that a backup of `kept` events was restored, and that `signed` events were known before."""

    event: int
    kept: int
    signed: int

    def left(self, size: int) -> bool:
        """Whether a checkpoint of so many events may be of what was left behind."""
        return self.kept < size <= self.signed

    def __str__(self) -> str:
        return f"event {self.event} says that a backup of {self.kept} events was restored; what came after is lost"


def gaps(reader: Reader) -> list[Gap]:
    """Those of a ledger, the oldest first. Raises IntegrityError if an event that tells of one is damaged."""
    events = reader.events(kinds=(Kind.LEDGER_RESTORED,), limit=2**31)
    try:
        return [Gap(event.seq, event.cause, int(event.step)) for event in events]
    except ValueError:
        raise IntegrityError("the event of a restore names no number of events") from None


def held_back(reader: Reader) -> set[str]:
    """The runs that a restore has parked, and that nobody has resumed since by name."""
    if not gaps(reader):
        return set()
    moves = (Kind.RUN_PARKED, Kind.RUN_RESUMED)
    query = (
        f"SELECT run FROM events WHERE kind IN {tuple(map(str, moves))} GROUP BY run HAVING arg_max(decision, seq) = ?"
    )
    return {run for (run,) in reader.rows(query, RESTORED)}

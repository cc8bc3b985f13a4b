"""What must not be destroyed because something still needs it, as events say in their bytes.

Whoever can write the database can change its columns without any key. What cannot be undone is therefore decided by
canonical bytes, found by what they say, and only if every event's bytes are those of its hash and none is missing.
"""

from collections.abc import Iterable

from store.ledger.marks import Marks
from store.ledger.reader import Reader, read_event
from store.records.errors import IntegrityError
from store.records.event import Event
from store.records.kinds import Kind

KEEPER = "keeper"
"""The actor of orders about content. The reasons in them are not swept: a hold must be able to say why."""

_WRONG = "SELECT count(*) FILTER (sha256(bytes) <> hash), count(*), coalesce(max(seq), 0) FROM events"
_FIELDS = ("run", "kind", "fingerprint", "actor", "payload", "time", "tenant", "principal", "retention")
_SAID = f"""
    SELECT seq, {", ".join(f"x[{place}] AS {name}" for place, name in enumerate(_FIELDS, 1))}
    FROM (SELECT seq, json_extract_string(decode(bytes), {[f"$.{name}" for name in _FIELDS]}) AS x FROM {{events}})
"""
"""The fields that decide, out of the bytes of each event."""

_OLD = f"""
    SELECT p.key, p.id FROM payloads p JOIN (
        SELECT payload, max(time::TIMESTAMP) AS newest,
            bool_or(actor = '{KEEPER}' OR run IN (SELECT unnest(?))) AS needed
        FROM ({_SAID.format(events="events")}) WHERE payload <> '' GROUP BY payload
    ) e ON e.payload = p.id
    WHERE p.key IN (SELECT unnest(?)) AND e.newest < ? AND NOT e.needed
"""
"""Payloads under some keys that nothing newer than a moment refers to, no order, and none of some runs."""

_RUNS = f"""
    SELECT kind, run, fingerprint
    FROM ({_SAID.format(events="(FROM events WHERE contains(decode(bytes), '" + '"kind":"run.' + "'))")})
    WHERE kind IN ('{Kind.RUN_SUBMITTED}', '{Kind.RUN_ENDED}') ORDER BY seq
"""
"""Where runs begin, each with the run it was forked from, and where they end."""

_OWNERS = f"""
    SELECT DISTINCT run, tenant, principal, retention FROM ({_SAID.format(events="events")})
    WHERE payload <> '' AND run IN (SELECT unnest(?)) ORDER BY run
"""


def sound(reader: Reader, last: int) -> None:
    """Raise IntegrityError if an event is missing, up to number `last` at least, or its bytes are not its hash's."""
    ((wrong, there, highest),) = reader.rows(_WRONG)
    if wrong or there != highest or there < last:
        what = "the events are not what was recorded, and nothing is destroyed on their word"
        raise IntegrityError(what, do="`bailiwick audit verify` names all damage")


def told(reader: Reader, *kinds: Kind, after: int = 0) -> list[Event]:
    """The events of these kinds by their bytes, oldest first; only those numbered above `after`. Raises IntegrityError
    if one is not what was recorded."""
    # In canonical JSON a text cannot contain this: its quotes would be escaped.
    asked = " OR ".join(f"""contains(decode(bytes), '"kind":"{kind}"')""" for kind in kinds)
    query = f"SELECT seq, hash, bytes FROM events WHERE seq > ? AND ({asked}) ORDER BY seq"
    return [read_event(*row) for row in reader.rows(query, after)]


def unmarked(reader: Reader, marks: Marks, signed: int) -> None:
    """Raise IntegrityError if an event that no checkpoint covers says that content was destroyed, and no keeper of this
    ledger wrote it: the next checkpoint would sign it."""
    for event in told(reader, Kind.KEYS_SHREDDED, Kind.PAYLOADS_SWEPT, after=signed):
        if not marks.hold(event.json()):
            what = f"event {event.seq} says that content was destroyed, and was not written by who has the keys"
            raise IntegrityError(what, do="`bailiwick audit verify` names all damage; restore a backup")


def shredded(reader: Reader, marks: Marks) -> dict[str, int]:
    """The data keys that the log says were destroyed, each with the event that does; of these none is made up."""
    found = reader.events(kinds=(Kind.KEYS_SHREDDED,), limit=2**31)
    return {
        event.step.rpartition("/")[2]: event.seq
        for event in found
        if event.kind == Kind.KEYS_SHREDDED and marks.hold(event.json())
    }


def needed_runs(reader: Reader) -> list[str]:
    """Every run that an open one reads: itself, its family (all that begin with the same id), and what one of these
    was forked from, with its family."""
    submitted: dict[str, str] = {}
    open_runs: set[str] = set()
    for kind, run, source in reader.rows(_RUNS):
        if kind == Kind.RUN_ENDED:
            open_runs.discard(run)
        else:
            submitted[run] = source
            open_runs.add(run)
    families = _grown({_family(run) for run in open_runs}, submitted)
    return [run for run in submitted if _family(run) in families]


def owners(reader: Reader, runs: Iterable[str]) -> list[tuple[str, str, str, str]]:
    """Whose content runs refer to: run, tenant, user, retention class."""
    return [(row[0], row[1], row[2], row[3]) for row in reader.rows(_OWNERS, list(runs))]


def old(reader: Reader, keys: Iterable[str], before: object) -> list[tuple[str, str]]:
    """Key and id of each payload under these keys that may go: older than `before`, UTC without a zone."""
    return [(row[0], row[1]) for row in reader.rows(_OLD, needed_runs(reader), list(keys), before)]


def _grown(families: set[str], submitted: dict[str, str]) -> set[str]:
    while True:
        more = {_family(source) for run, source in submitted.items() if source and _family(run) in families}
        if more <= families:
            return families
        families |= more


def _family(run: str) -> str:
    """A run that another began is called as that one, a hyphen, and its step."""
    return run.partition("-")[0]

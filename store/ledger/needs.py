"""What must not be destroyed because something still needs it, as events say.

Whoever can write the database can change it without any key. What cannot be undone is therefore decided only if the
events are those that a checkpoint signs: hashes follow from what they are of, and anybody can make them.
"""

from collections.abc import Iterable, Mapping

from store.keys.data_key import Record
from store.keys.scope import Owner, Scope
from store.ledger import schema
from store.ledger.marks import Marks
from store.ledger.proofs import Proofs
from store.ledger.reader import DAMAGE, EVERYTHING, Reader
from store.ledger.sealer import NAME_LIMIT
from store.records.errors import Denied, IntegrityError
from store.records.kinds import Kind
from store.verify import Peaks, open_checkpoint

KEEPER = "keeper"
"""The actor of orders about content. The reasons in them are not swept: a hold must be able to say why."""

TENANTS = "SELECT DISTINCT tenant FROM events ORDER BY tenant"
PAGE = 100_000
"""Events looked at together."""
_LEAVES = f"""
    SELECT seq, coalesce(sha256(bytes) = hash, false), sha256('\\x00'::BLOB || bytes)
    FROM (SELECT seq, hash, {schema.BYTES} AS bytes FROM events WHERE seq > ? ORDER BY seq LIMIT {PAGE})
    ORDER BY seq
"""
"""Number of each event, whether its hash fits, and its hash as a leaf of the tree (RFC 6962), in hex."""

_WHOSE = """
    SELECT DISTINCT p.key, e.tenant, e.principal, e.retention FROM payloads p JOIN (
        SELECT payload, tenant, CASE WHEN min(principal) = max(principal) THEN max(principal) ELSE '' END AS principal,
            max(retention) AS retention
        FROM events WHERE payload <> '' GROUP BY payload, tenant
    ) e ON e.payload = p.id
"""
"""Each data key and whose content is under it. What several users said alike to version 0.1 is nobody's."""

_OLD = f"""
    SELECT p.key, p.id FROM payloads p JOIN (
        SELECT payload, max(time) AS newest,
            bool_or(actor = '{KEEPER}' OR run IN (SELECT unnest(?))) AS needed
        FROM events WHERE payload <> '' GROUP BY payload
    ) e ON e.payload = p.id
    WHERE p.key IN (SELECT unnest(?)) AND e.newest < ? AND NOT e.needed
"""
"""Payloads under some keys that nothing newer than a moment refers to, no order, and none of some runs."""

_RUNS = f"""
    SELECT kind, run, fingerprint FROM events
    WHERE kind IN ('{Kind.RUN_SUBMITTED}', '{Kind.RUN_ENDED}') ORDER BY seq
"""
"""Where runs begin, each with the run it was forked from, and where they end."""

_OWNERS = """
    SELECT DISTINCT run, tenant, principal, retention FROM events
    WHERE payload <> '' AND run IN (SELECT unnest(?)) ORDER BY run
"""


def sound(reader: Reader, proofs: Proofs, last: int) -> None:
    """Raise IntegrityError unless every event is there, up to number `last` at least, is what its hash says, and they
    are what the newest checkpoint signs, which is made now if there is none over all. Takes some ten seconds a
    million."""
    if not last:
        return
    signed = open_checkpoint(proofs.checkpoint(), proofs.key)
    peaks, after = Peaks(), -(2**63)
    while page := reader.rows(_LEAVES, after):
        for seq, fits, leaf in page:
            if not fits or seq != peaks.size + 1:
                raise _unsound()
            peaks.append(bytes.fromhex(leaf))
            if seq == signed.size and peaks.root() != signed.root:
                raise _unsound()
        after = peaks.size
    if peaks.size < max(last, signed.size):
        raise _unsound()


def _unsound() -> IntegrityError:
    return IntegrityError("the events are not what was recorded, and nothing is destroyed on their word", do=DAMAGE)


def whose(reader: Reader) -> list[tuple[str, Owner]]:
    """The data keys that content is under, and the owners that events say it has: one each, unless the column `key`,
    which nobody signs, was changed."""
    return [(key, Owner(*owner)) for key, *owner in reader.rows(_WHOSE)]


def under(reader: Reader, key: str) -> list[str]:
    """The ids of the payloads under a data key that events refer to."""
    query = "SELECT id FROM payloads WHERE key = ? AND id IN (SELECT payload FROM events)"
    return [id for (id,) in reader.rows(query, key)]


def owned(reader: Reader, records: Mapping[str, Record]) -> None:
    """Raise IntegrityError if what is under one of these data keys is not its owner's."""
    for key, owner in whose(reader):
        if key in records and records[key].owner != owner:
            raise another(key, owner)


def another(key: str, owner: Owner) -> IntegrityError:
    """What is under this key is this owner's, whose key it is not."""
    what = f"content of {Scope(owner.tenant, owner.user, owner.retention)} stands under another's key, {key}"
    return IntegrityError(f"{what}: nothing is destroyed", do=DAMAGE)


def needed(scope: Scope, run: str) -> Denied:
    """An open run needs what is in this scope."""
    do = "cancel the open one first: `bailiwick runs cancel RUN`"
    return Denied(f"an open run needs it: {scope}", f"run {run}", do)


def tombstone_step(owner: Owner, key: str) -> str:
    """How an event names a key that is no more: scope and id, or the id alone where a name leaves no room."""
    step = f"{Scope(owner.tenant, owner.user, owner.retention).path}/{key}"
    return step if len(step) <= NAME_LIMIT else key


def unmarked(reader: Reader, marks: Marks, signed: int) -> None:
    """Raise IntegrityError if an event that no checkpoint covers says that content was destroyed, and no keeper of this
    ledger wrote it: the next checkpoint would sign it."""
    for event in reader.events(signed, limit=EVERYTHING, kinds=(Kind.KEYS_SHREDDED, Kind.PAYLOADS_SWEPT)):
        if not marks.hold(event.json()):
            what = f"event {event.seq} says that content was destroyed, and was not written by who has the keys"
            raise IntegrityError(what, do="`bailiwick audit verify` names all damage; restore a backup")


def shredded(reader: Reader, marks: Marks) -> dict[str, int]:
    """The data keys that the log says were destroyed, each with the event that does; of these none is made up."""
    found = reader.events(kinds=(Kind.KEYS_SHREDDED,), limit=EVERYTHING)
    return {event.step.rpartition("/")[2]: event.seq for event in found if marks.hold(event.json())}


def tenants(reader: Reader) -> list[str]:
    """Every tenant that the log tells of."""
    return [tenant for (tenant,) in reader.rows(TENANTS)]


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

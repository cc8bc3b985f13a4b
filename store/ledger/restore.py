"""Restores: a backup takes the place of a ledger, under a new epoch, with an event of what is missing in between.

All is done on a copy beside the ledger, which takes its place in one rename: a crash leaves the old one or the new one.
Keys are never restored: those that are there open what they open, and what was shredded since stays destroyed. No run
goes on by itself, for nobody knows from the backup alone what it has done since. What agents remember becomes the
backup's, but for what the keys that are there do not open; what they remembered before is kept with the old ledger,
encrypted as in a backup.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from store.keys.keystore import Keystore
from store.keys.memos import MEMORY
from store.keys.scope import Scope
from store.keys.site_key import Site
from store.ledger import needs
from store.ledger.backup import CHECKPOINT
from store.ledger.copies import opened
from store.ledger.database import DATABASE, KEYS, prepare_folder
from store.ledger.errors import first_line
from store.ledger.gap import RESTORED, gaps
from store.ledger.ledger import Ledger
from store.ledger.lock import FolderLock
from store.ledger.mirror import Mirror
from store.ledger.replaced import Replaced, look_at
from store.ledger.staging import OpenMemory, remember, set_aside, settle, stage, take_over, vouched
from store.ledger.steps import convert
from store.ledger.verify import verify
from store.records.canonical import Json
from store.records.errors import IntegrityError, SettingsError, Waiting, describe
from store.records.event import Draft, Event
from store.records.kinds import Kind
from store.verify import Checkpoint, open_checkpoint

VERSION = "1"
KEYS_FILE = "keys"
"""The keys in a backup, if they were asked for; see store/keys/backup.py."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done: the backup had `kept` events, and a checkpoint of `signed` was known; `event` says so.

    `parked` are the runs that wait for somebody to resume them. `destroyed` payloads of the backup had been shredded
    or swept since, `closed` ones have no key here. `aside` is where the old ledger is, if there was one, and `trouble`
    why it could not say what was destroyed. The backup had `memories`, None if it was made without; `forgotten` of them
    did not come back, because their owners' keys are no more.
    """

    kept: int
    signed: int
    event: int
    epoch: int
    parked: tuple[str, ...] = ()
    destroyed: int = 0
    closed: int = 0
    aside: str = ""
    trouble: str = ""
    memories: int | None = None
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known before anything is done: the backup's own checkpoint, the largest one, and the old ledger."""

    note: str
    kept: int
    largest: Checkpoint
    before: Replaced


def restore(
    backup: Path,
    data: Path,
    site: Site,
    tenant: str,
    by: str,
    *,
    mirror: Path | None = None,
    replace: bool = False,
    memory: OpenMemory | None = None,
) -> Restored:
    """Put a backup into a data folder, on the order of `by`; `replace` moves aside the ledger that is there.

    `mirror` is the folder of checkpoints: it tells what is missing. `memory` opens what agents remember in a folder; if
    not given, memory is left as it is. Raises Unreachable if a process has the folder,
    SettingsError if there is a ledger and no `replace`, no backup, or no key; IntegrityError if the backup is not what
    was signed. Nothing is changed then.
    """
    if not (backup / DATABASE).is_file() or not (backup / CHECKPOINT).is_file():
        raise SettingsError("this is no backup", str(backup), "name a folder that `bailiwick backup` has written")
    prepare_folder(data)
    lock = FolderLock(data, shared=False)
    try:
        if (data / DATABASE).exists() and not replace:
            raise SettingsError("there is a ledger already", str(data), "--replace moves it aside")
        if not (data / KEYS / "checkpoint.key").exists():
            do = f"bring them back first: `bailiwick keys init --from {backup / KEYS_FILE}`, or another backup of them"
            raise SettingsError("the keys are not there, and a ledger is not restored without", str(data / KEYS), do)
        try:
            settle(data)
            return _restored(backup, data, site, tenant, by, Mirror(mirror) if mirror else None, memory)
        finally:
            settle(data)
    except OSError as error:
        raise SettingsError(f"the backup cannot be restored: {error.strerror}", str(data), "see to the disk") from None
    finally:
        lock.release(clear=True)


def _restored(
    backup: Path, data: Path, site: Site, tenant: str, by: str, mirror: Mirror | None, memory: OpenMemory | None
) -> Restored:
    staging = stage(backup, data)
    _convert(staging, backup, Keystore.open(data / KEYS, site))
    known = _known(backup, staging, data, site, mirror)
    had = vouched(backup, data, known.note)
    there = memory(data / MEMORY) if memory else None
    try:
        with Ledger.open(staging, site=site, above=known.before.epoch, lose=True, memos=there) as ledger:
            gap = _say(ledger, known, tenant, by)
            destroyed = _destroy_again(ledger, known.before, by)
            parked = _park(ledger, gap, by)
            closed = _closed(ledger)
            came = remember(backup, staging, ledger, memory) if memory else had or 0
            aside = set_aside(data, ledger, there, known.note)
    finally:
        if there:
            there.close()
    take_over(data)
    if mirror:
        _tell(mirror, known.note)
    signed, trouble = known.largest.size, known.before.trouble
    return Restored(
        known.kept, signed, gap.seq, gap.epoch, parked, destroyed, closed, aside, trouble, had, (had or 0) - came
    )


def _convert(staging: Path, backup: Path, keystore: Keystore) -> None:
    """Have the copy of a backup that an earlier version made in today's format."""
    path = staging / DATABASE
    try:
        convert(path, keystore, staging).replace(path)
    except duckdb.Error as error:
        raise IntegrityError(f"the backup cannot be converted: {first_line(error)}", str(backup)) from None


def _known(backup: Path, staging: Path, data: Path, site: Site, mirror: Mirror | None) -> _Known:
    """Raises IntegrityError unless the backup is what its checkpoint signs, and continues what the mirror has of it."""
    with opened(staging / DATABASE, data, Keystore.open(data / KEYS, site)) as copy:
        found = verify(copy)
        if not found.ok:
            raise IntegrityError(f"the backup is not what was recorded: {found.problems[0]}", str(backup))
        newest, key = copy.reader.checkpoint(found.events), copy.proofs.key
        if newest is None or newest[1] != (backup / CHECKPOINT).read_text(encoding="utf-8", errors="replace"):
            raise IntegrityError("the backup's checkpoint is not that of its ledger", str(backup))
        kept: list[Checkpoint] = []
        if mirror:
            mirror.check()
            kept = mirror.checkpoints(key, gaps=gaps(copy.reader))
            copy.proofs.agree_with([each for each in kept if each.size <= found.events])
        before = look_at(data, key)
        own = open_checkpoint(newest[1], key)
        largest = max([own, *before.signed, *kept], key=lambda each: each.size)
        return _Known(newest[1], found.events, largest, before)


def _say(ledger: Ledger, known: _Known, tenant: str, by: str) -> Event:
    """The event of the gap: see store/ledger/gap.py."""
    draft = Draft(
        kind=Kind.LEDGER_RESTORED,
        tenant=tenant,
        actor="keeper",
        actor_version=VERSION,
        principal=by,
        cause=known.kept,
        step=str(known.largest.size),
        fingerprint=known.largest.root.hex(),
        decision="gap" if known.largest.size > known.kept else "",
    )
    before = {"events": known.before.events, "epoch": known.before.epoch, "trouble": known.before.trouble}
    return ledger.append(draft, {"checkpoint": known.note, "replaced": before}).wait()


def _tell(mirror: Mirror, note: str) -> None:
    """Have the backup's checkpoint in the mirror: what stands before it, of more events, was left behind."""
    try:
        mirror.keep(note, datetime.now(UTC).replace(tzinfo=None))
    except OSError as error:
        what = f"the backup is in its place, but the mirror could not be told: {error.strerror}"
        raise SettingsError(what, str(mirror.folder), "restore it once more when the mirror can be written") from None


def _destroy_again(ledger: Ledger, before: Replaced, by: str) -> int:
    """Destroy what was destroyed after the backup was made, as far as the old ledger tells, and its keeper
    wrote it; how many payloads. Raises IntegrityError if content stands under another's key."""
    reader = ledger.reader
    said = {step for (step,) in reader.rows("SELECT step FROM events WHERE kind = ?", str(Kind.KEYS_SHREDDED))}
    count = 0
    owners = needs.whose(reader)
    for event in before.shredded:
        if event.step not in said and ledger.marks.hold(event.json()):
            key = event.step.rpartition("/")[2]
            for owner in (owner for under, owner in owners if under == key):
                if (owner.tenant, needs.tombstone_step(owner, key)) != (event.tenant, event.step):
                    raise needs.another(key, owner)  # the column that says whose key it is, nobody signs
            ids = needs.under(reader, key)
            count += _entomb(ledger, Kind.KEYS_SHREDDED, event.tenant, event.step, event.principal, ids)
    swept: dict[str, list[str]] = defaultdict(list)
    query = "SELECT tenant, id FROM payloads WHERE id IN (SELECT unnest(?))"
    for tenant, id in reader.rows(query, list(before.gone)) if before.gone else ():
        swept[tenant].append(id)
    for tenant, ids in swept.items():
        count += _entomb(ledger, Kind.PAYLOADS_SWEPT, tenant, Scope(tenant).path, by, ids)
    ledger.keeper.finish()  # keys that were brought back by a backup of theirs go, too
    return count


def _entomb(ledger: Ledger, kind: Kind, tenant: str, step: str, by: str, ids: list[str]) -> int:
    draft = Draft(
        kind=kind,
        tenant=tenant,
        actor="keeper",
        actor_version=VERSION,
        principal=by,
        step=step,
        fingerprint=ledger.marks.fingerprint(kind, tenant, step, sorted(ids)),
    )
    ledger.append(draft, {"payloads": len(ids)}, erases=sorted(ids)).wait()
    return len(ids)


def _park(ledger: Ledger, gap: Event, by: str) -> tuple[str, ...]:
    """Let no open run go on before somebody has resumed it by its name."""
    open_runs = ledger.open_runs()
    for row in open_runs:
        do = "see what it has done since, then `bailiwick runs resume` or `runs cancel`"
        error = Waiting(f"the log was restored: what the run did after event {row.last_seq} is not known", row.run, do)
        draft = Draft(
            kind=Kind.RUN_PARKED,
            tenant=row.tenant,
            run=row.run,
            actor="keeper",
            actor_version=VERSION,
            principal=by,
            cause=gap.seq,
            workflow=row.workflow,
            workflow_version=row.workflow_version,
            decision=RESTORED,
        )
        payload: Json = {"error": describe(error), "text": str(error)}
        ledger.append(draft, payload)
    ledger.flush()
    return tuple(row.run for row in open_runs)


def _closed(ledger: Ledger) -> int:
    """How many payloads are under keys that are not there."""
    counts = ledger.reader.rows("SELECT key, count(*) FROM payloads GROUP BY key")
    return sum(count for key, count in counts if key not in ledger.keystore.records)

"""Restores: a backup takes the place of a ledger, under a new epoch, with an event of what is missing in between.

All is done on a copy beside the ledger, which takes its place in one rename: a crash leaves the old one or the new one.
Keys are never restored: those that are there open what they open, and what was shredded since stays destroyed. No run
goes on by itself, for nobody knows from the backup alone what it has done since.
"""

import contextlib
import os
import secrets
import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from store.keys.files import sync_folder
from store.keys.keystore import Keystore
from store.keys.scope import Scope
from store.keys.site_key import Site
from store.ledger.backup import CHECKPOINT
from store.ledger.copies import opened
from store.ledger.database import DATABASE, KEYS, connect, prepare_folder
from store.ledger.gap import RESTORED, gaps
from store.ledger.ledger import Ledger
from store.ledger.lock import FolderLock
from store.ledger.mirror import Mirror
from store.ledger.replaced import Replaced, look_at
from store.ledger.verify import verify
from store.records.canonical import Json
from store.records.errors import BailiwickError, IntegrityError, SettingsError, Waiting, describe
from store.records.event import Draft, Event
from store.records.kinds import Kind
from store.verify import Checkpoint, open_checkpoint

VERSION = "1"
STAGING = "restoring"
KEYS_FILE = "keys"
"""The keys in a backup, if they were asked for; see store/keys/backup.py."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done: the backup had `kept` events, and a checkpoint of `signed` was known; `event` says so.

    `parked` are the runs that wait for somebody to resume them. `destroyed` payloads of the backup had been shredded
    or swept since, `closed` ones have no key here. `aside` is where the old ledger is, if there was one, and `trouble`
    why it could not say what was destroyed.
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


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known before anything is done: the backup's own checkpoint, the largest one, and the old ledger."""

    note: str
    kept: int
    largest: Checkpoint
    before: Replaced


def restore(
    backup: Path, data: Path, site: Site, tenant: str, by: str, *, mirror: Path | None = None, replace: bool = False
) -> Restored:
    """Put a backup into a data folder, on the order of `by`; `replace` moves aside the ledger that is there.

    `mirror` is the folder of checkpoints: it tells what is missing. Raises Unreachable if a process has the folder,
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
            return _restored(backup, data, site, tenant, by, Mirror(mirror) if mirror else None)
        finally:
            shutil.rmtree(data / STAGING, ignore_errors=True)
    except OSError as error:
        raise SettingsError(f"the backup cannot be restored: {error.strerror}", str(data), "see to the disk") from None
    finally:
        lock.release(clear=True)


def _restored(backup: Path, data: Path, site: Site, tenant: str, by: str, mirror: Mirror | None) -> Restored:
    staging = _stage(backup, data)
    known = _known(backup, staging, data, site, mirror)
    with Ledger.open(staging, site=site, above=known.before.epoch, lose=True) as ledger:
        gap = _say(ledger, known, tenant, by)
        destroyed = _destroy_again(ledger, known.before, by)
        parked = _park(ledger, gap, by)
        closed = _closed(ledger)
    aside = _take_over(staging / DATABASE, data)
    if mirror:
        _tell(mirror, known.note)
    signed, trouble = known.largest.size, known.before.trouble
    return Restored(known.kept, signed, gap.seq, gap.epoch, parked, destroyed, closed, aside, trouble)


def _stage(backup: Path, data: Path) -> Path:
    """A folder that is a data folder but for its place: a copy of the backup, and the keys that are there."""
    staging = data / STAGING
    if staging.exists():  # a crash left it
        shutil.rmtree(staging)
    staging.mkdir(mode=0o700)
    descriptor = os.open(staging / DATABASE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as copy, (backup / DATABASE).open("rb") as source:
        shutil.copyfileobj(source, copy, 2**20)
        copy.flush()
        os.fsync(descriptor)
    (staging / KEYS).symlink_to(Path("..") / KEYS)
    return staging


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
    """Destroy what was destroyed after the backup was made, as far as the old ledger tells; how many payloads."""
    reader = ledger.reader
    said = {step for (step,) in reader.rows("SELECT step FROM events WHERE kind = ?", str(Kind.KEYS_SHREDDED))}
    count = 0
    for event in before.shredded:
        if event.step not in said:
            key = event.step.rpartition("/")[2]
            ids = [id for (id,) in reader.rows("SELECT id FROM payloads WHERE key = ?", key)]
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


def _take_over(new: Path, data: Path) -> str:
    """Let the database `new` take the old one's place, which is kept; where, empty if there was none."""
    old, aside = data / DATABASE, ""
    log = old.with_name(f"{old.name}.wal")
    if old.exists():
        with contextlib.suppress(BailiwickError):  # what is in its write-ahead log becomes part of it, if it can
            connect(old, False).close()
        folder = data / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        folder.mkdir(mode=0o700)
        for each in (old, log):
            if each.exists():
                os.link(each, folder / each.name)
        sync_folder(folder)
        aside = str(folder)
    log.unlink(missing_ok=True)  # it is the old one's, and must not be read into the new one
    new.replace(old)
    sync_folder(data)
    return aside

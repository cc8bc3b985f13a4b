"""The upgrade of a ledger that an earlier version wrote: the original is kept, and a new database takes its place.

All is done in a folder beside the database, down to the event that says what was done, and takes its place in one
rename: a crash leaves the old ledger or the new one, and the next upgrade starts anew, or ends what is left to do.
Nothing goes down a version, and no event is changed: what is not the same afterwards is not taken.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from store.keys.keystore import FILE
from store.keys.site_key import Site
from store.ledger import journal, original, schema, steps, successor
from store.ledger.census import Census, take
from store.ledger.database import DATABASE, KEYS, check_closed, connect, finish, keystore_for_writing, settle
from store.ledger.errors import LedgerFailed, first_line
from store.ledger.format import FORMAT, format_of
from store.ledger.gap import held_back
from store.ledger.ledger import Ledger
from store.ledger.lock import FolderLock
from store.ledger.reader import EVERYTHING, Reader, RunRow
from store.records.canonical import Json
from store.records.errors import IntegrityError, SettingsError
from store.records.event import Draft, Event
from store.records.kinds import Kind

VERSION = "1"
STAGING = "upgrading"


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that has not ended, as it stands in a ledger of any format, with its events; `held`: a restore parked it,
    and nobody has resumed it since. `source` are the events of the run that it is forked from, if it is."""

    row: RunRow
    events: tuple[Event, ...]
    source: tuple[Event, ...]
    held: bool


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What was done: a ledger of `events` events went from one format to another; `event` says so. The original is in
    `backup`."""

    before: int
    after: int
    events: int
    event: int
    backup: Path


class Upgrade:
    """An upgrade of a data folder, whose lock it has. Use `begin`."""

    def __init__(self, folder: Path, before: int, runs: tuple[OpenRun, ...]) -> None:
        self.folder = folder
        self.before = before
        """The format that the ledger has."""
        self.runs = runs
        """The runs that have not ended, oldest first; none if there is nothing to upgrade."""

    @classmethod
    @contextlib.contextmanager
    def begin(cls, folder: Path) -> Iterator["Upgrade"]:
        """Look at a ledger, and have its folder's lock meanwhile. Nothing is changed.

        Raises Unreachable if another process has it, SettingsError if there is no ledger, or one that a newer version
        wrote; IntegrityError if it is none of ours.
        """
        if not (folder / DATABASE).exists():
            raise SettingsError("there is no ledger yet", str(folder), "run a task first")
        lock = FolderLock(folder, shared=False)
        try:
            with connect(folder / DATABASE, True) as connection:
                before = format_of(connection, str(folder))
                if before >= FORMAT or not before:
                    schema.check(connection, str(folder))
                schema.only_ours(connection, str(folder))
                found = cls(folder, before, _open_runs(connection, str(folder)) if before < FORMAT else ())
            yield found
        finally:
            lock.release(clear=True)

    @property
    def steps(self) -> list[str]:
        """What is to be done, in words; empty if there is nothing."""
        return [steps.STEPS[number].does for number in range(self.before + 1, FORMAT + 1)]

    def finish(self) -> None:
        """End what an upgrade that was interrupted has left to do."""
        finish(self.folder)
        shutil.rmtree(self.folder / STAGING, ignore_errors=True)

    def run(self, site: Site, backup: Path, tenant: str, by: str) -> Upgraded:
        """Keep the original in the folder `backup`, which is not there yet, and upgrade, on the order of `by`.

        Raises SettingsError if there is something at `backup`, or the disk does not take it; IntegrityError if an
        event is missing or damaged, or not the same afterwards; Locked if the site key is missing. The ledger is then
        as it was, unless the error says that only the end is left to do.
        """
        if not self.steps:
            raise SettingsError("there is nothing to upgrade", str(self.folder))
        if journal.left(self.folder):
            do = "start the version that wrote it once, and stop it"
            raise SettingsError("the log was not closed, and its last events are in its journal", str(self.folder), do)
        self.finish()
        kept = original.keep(self.folder, backup)
        try:
            done = self._upgraded(site, kept, backup, tenant, by)
        except (duckdb.Error, OSError, LedgerFailed) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or first_line(error)
            do = f"see to the disk, then upgrade again: the ledger is as it was, and so is the backup {backup}"
            raise SettingsError(f"the ledger cannot be upgraded: {reason}", str(self.folder), do) from None
        finally:
            shutil.rmtree(self.folder / STAGING, ignore_errors=True)
        try:
            self.finish()
        except OSError as error:
            what = f"the ledger is upgraded, but what was there before is not destroyed: {error.strerror}"
            raise SettingsError(what, str(self.folder), "see to the disk, then `bailiwick upgrade` ends it") from None
        return done

    def _upgraded(self, site: Site, kept: Census, backup: Path, tenant: str, by: str) -> Upgraded:
        path, staging = self.folder / DATABASE, self.folder / STAGING
        fresh = self.before == 1 and not (self.folder / KEYS / FILE).exists()
        keystore = keystore_for_writing(self.folder, site, fresh=fresh)
        staging.mkdir(mode=0o700)
        settle(path)
        steps.convert(path, keystore, staging).rename(staging / DATABASE)
        (staging / KEYS).symlink_to(Path("..") / KEYS)
        if take(staging / DATABASE, self.folder) != kept:
            raise IntegrityError("the events are not the same after the upgrade", str(self.folder), "report it")
        with Ledger.open(staging, site=site, staged=True) as ledger:
            event = _say(ledger, self.before, kept, backup, tenant, by)
        settle(staging / DATABASE)
        check_closed(staging)
        successor.take_over(staging / DATABASE, path)
        return Upgraded(self.before, FORMAT, kept.events, event.seq, backup)


def _say(ledger: Ledger, before: int, kept: Census, backup: Path, tenant: str, by: str) -> Event:
    """The event: `step` says from which format to which, `cause` and `fingerprint` what there was: the last event, and
    the root over all."""
    draft = Draft(
        kind=Kind.LEDGER_UPGRADED,
        tenant=tenant,
        actor="keeper",
        actor_version=VERSION,
        principal=by,
        cause=kept.events,
        step=f"{before}-{FORMAT}",
        fingerprint=kept.root.hex(),
    )
    payload: Json = {"from": before, "to": FORMAT, "backup": str(backup)}
    return ledger.append(draft, payload).wait()


def _open_runs(connection: duckdb.DuckDBPyConnection, where: str) -> tuple[OpenRun, ...]:
    reader = Reader(connection, where)
    held = held_back(reader)

    def events(run: str) -> tuple[Event, ...]:
        return tuple(reader.events(run=run, limit=EVERYTHING)) if run else ()

    found = []
    for row in reader.open_runs():
        own = events(row.run)
        found.append(OpenRun(row, own, events(own[0].fingerprint), row.run in held))
    return tuple(found)

"""The ledger: opened by one process, appended to from any thread, asked from any thread."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

from store.keys.files import make_key, read_key
from store.keys.keystore import Keystore
from store.keys.memos import Memos
from store.keys.scope import Owner
from store.keys.site_key import Site
from store.ledger.applier import Applier
from store.ledger.archive import Archive
from store.ledger.database import KEYS, open_for_reading, open_for_writing, prepare_folder, recover_folder
from store.ledger.entry import Entry
from store.ledger.errors import LedgerFailed, first_line
from store.ledger.gap import gaps, held_back
from store.ledger.journal import Journal, left
from store.ledger.keeper import Keeper
from store.ledger.lock import FolderLock, unusable
from store.ledger.marks import Marks
from store.ledger.mirror import Mirror
from store.ledger.mirroring import Mirroring
from store.ledger.needs import unmarked
from store.ledger.notary import Notary
from store.ledger.proofs import Proofs
from store.ledger.reader import EVERYTHING, Reader, RunRow
from store.ledger.sealer import Clock, Sealer, check, utc_now
from store.ledger.staging import settle
from store.ledger.tables import Tables
from store.ledger.tiles import resume
from store.ledger.watermark import Watermark
from store.ledger.writer import Writer
from store.records.canonical import Json
from store.records.errors import SettingsError, Timeout
from store.records.event import Draft, Event
from store.verify import Key

log = logging.getLogger("bailiwick.ledger")


class Pending:
    """An event that is sealed, and on its way to the disk. When one is there, so are all that were appended before."""

    __slots__ = ("_watermark", "event")

    def __init__(self, event: Event, watermark: Watermark) -> None:
        self.event = event
        self._watermark = watermark

    def wait(self, timeout: float | None = None) -> Event:
        """Block until the event is on disk. Raises LedgerFailed, or Timeout after `timeout` seconds."""
        if not self._watermark.wait(self.event.seq, timeout):
            raise Timeout(f"event {self.event.seq} is not on disk after {timeout:g} s")
        return self.event

    async def durable(self) -> Event:
        """As `wait`, for a task, without a limit of its own."""
        await self._watermark.arrive(self.event.seq)
        return self.event


class Ledger:
    """The events and payloads of one data folder. Use `open`."""

    def __init__(
        self,
        folder: Path,
        lock: FolderLock,
        connection: duckdb.DuckDBPyConnection,
        keystore: Keystore,
        *,
        read_only: bool,
        mirror: Path | None,
        above: int = 0,
        memos: Memos | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """`above`, `memos` and `clock` as for `open`."""
        self.folder = folder
        self.read_only = read_only
        self.memos = memos
        self.mirror = Mirror(mirror) if mirror else None
        self._mirroring: Mirroring | None = None
        self.reader = Reader(connection, str(folder))
        self.keystore = keystore
        self.archive = Archive(keystore)
        self._signing_key = self._key("checkpoint.key", self.reader.last_seq() > 0)
        self.marks = Marks(self._signing_key)
        self._lock = lock
        self._connection = connection
        self._sealing = threading.Lock()
        last, epoch = self.reader.last_seq(), self.reader.last_epoch()
        self._watermark = Watermark(last)
        heads = {} if read_only else self.reader.heads()
        self._sealer = Sealer(last, max(epoch, above) + 1, heads, self.reader.last_time(), clock, self.reader.peaks())
        self.proofs = Proofs(self.reader, self._signing_key, self.last_seq, str(folder))
        self._writer = None if read_only else self._start()
        if self._writer:
            self.proofs.ask = self._writer.checkpoint
        self._closed = False
        self.keeper = Keeper(self)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        read_only: bool = False,
        mirror: Path | None = None,
        site: Site | None = None,
        above: int = 0,
        lose: bool = False,
        memos: Memos | None = None,
        clock: Clock = utc_now,
        staged: bool = False,
    ) -> "Ledger":
        """Open the ledger in `folder`, and make it if it is not there; read-only, it starts nothing,
        and writes nothing but what a crash left in the journal.

        `mirror` is a folder for the checkpoints; `site` says where the site key is, if not in the data folder; the new
        epoch is above the one that `above` names, which the ledger may know nothing of; `lose` says to go on without
        data keys that an older copy of the keystore does not have; `memos` is what agents remember in this data folder,
        which goes with its owners' keys: whoever opens for writing one where there may be memory must give it; `clock`
        dates the events; `staged` leaves to the next start what is to be done about keys, for another ledger still has
        them. Raises Unreachable if another process has the ledger, SettingsError if a folder cannot be used, or the
        ledger has another format; IntegrityError if what is there is no ledger, or not what was signed; for writing,
        Locked if the site key is missing.
        """
        if not read_only:
            prepare_folder(folder)
        lock = _lock(folder, read_only)
        connection = None
        try:
            if not read_only:
                _settle(folder)
            opened = open_for_reading if read_only else open_for_writing
            connection, keystore = opened(folder, site or Site(folder / KEYS))
            ledger = cls(
                folder,
                lock,
                connection,
                keystore,
                read_only=read_only,
                mirror=mirror,
                above=above,
                memos=memos,
                clock=clock,
            )
        except BaseException:
            if connection:
                connection.close()
            lock.release(clear=not read_only)
            raise
        try:
            if not read_only and not staged:
                ledger.keeper.finish()
                ledger.keeper.complete(lose=lose)
            return ledger
        except BaseException:
            ledger.close()
            raise

    @property
    def epoch(self) -> int:
        """The epoch of what this opening appends: one above the highest that is recorded."""
        return self._sealer.epoch

    def latest_since(self, event: int) -> str:
        """The latest time of any event from this number on, as events say it; empty if there is none. A clock that was
        set back since makes it no earlier."""
        with self._sealing:
            return self._sealer.latest_since(event)

    def watch_mirror(self, tell: Callable[[str], None]) -> None:
        """Have somebody told why checkpoints no longer get to the mirror, and with "" when they do again; at once, if
        it is so now. Later calls come from a thread of their own."""
        if self._mirroring:
            self._mirroring.watch(tell)

    def append(self, draft: Draft, payload: Json | None = None, erases: Sequence[str] = ()) -> Pending:
        """Seal a draft and send it to the disk. Calls from several threads are numbered in the order they get here.

        The payloads with the ids `erases` go in the same commit: that is the keeper's. Raises Unstorable if draft or
        payload cannot be kept (nothing is recorded then), LedgerFailed if the ledger takes nothing more.
        """
        self._watermark.check()
        if self._writer is None:
            raise LedgerFailed("the ledger is open for reading only", str(self.folder))
        check(draft)
        owner = Owner(draft.tenant, str(draft.principal), str(draft.retention))
        packed = None if payload is None else self.archive.pack(owner, payload)
        with self._sealing:
            self._watermark.check()
            if packed and not self.keystore.takes(packed.key):  # it was retired or destroyed meanwhile
                packed = self.archive.pack(owner, payload)
            *before, (event, data, digest) = self._sealer.seal(draft, packed.id if packed else "")
            for each in before:
                self._writer.put(Entry(*each, None))
            self._writer.put(Entry(event, data, digest, packed, erases))
        return Pending(event, self._watermark)

    def flush(self) -> None:
        """Block until everything that was appended before is on disk. Raises LedgerFailed."""
        with self._sealing:
            last = self._sealer.last
        self._watermark.wait(last)

    @contextmanager
    def still(self) -> Iterator[None]:
        """All that was appended is on disk, and nothing more is meanwhile: keep this short. Raises LedgerFailed."""
        with self._sealing:
            self._watermark.wait(self._sealer.last)
            yield

    def payload(self, id: str) -> Json:
        """The value of a payload. Raises IntegrityError if it is missing or not what was recorded; Shredded, which is
        one, if it was destroyed; Locked, another, if the site key is missing; SettingsError if nobody can give it.
        """
        return self.archive.unpack(self.reader.payload(id))

    def payloads(self, events: Sequence[Event]) -> list[Json]:
        """The value of each event's payload, None where it has none, in a tenth of the time that one by one would take.

        Raises IntegrityError if one is missing or not what was recorded.
        """
        found = self.reader.payloads(event.payload for event in events if event.payload)
        return [self.archive.unpack(found[event.payload]) if event.payload else None for event in events]

    def events(
        self, after: int = 0, run: str = "", limit: int = 500, kinds: Sequence[str] = (), tenant: str | None = None
    ) -> list[Event]:
        """Up to `limit` durable events numbered above `after`, in order; of one run, some kinds, a tenant, if given."""
        return self.reader.events(after, run, limit, kinds, tenant)

    def run_events(self, run: str) -> list[Event]:
        """Every durable event of a run, in order."""
        return self.reader.events(run=run, limit=EVERYTHING) if run else []

    def events_of(self, runs: Sequence[str]) -> list[Event]:
        """Every durable event of several runs, in order."""
        return self.reader.events_of(runs)

    def runs(self, limit: int = 50, tenant: str | None = None) -> list[RunRow]:
        """The newest runs first; a tenant's, if one is given."""
        return self.reader.runs(limit, tenant)

    def open_runs(self) -> list[RunRow]:
        """The runs that have been submitted and have not ended, oldest first."""
        return self.reader.open_runs()

    def begun_by(self, run: str) -> list[str]:
        """The runs that a run began, and those that these began, in order."""
        return self.reader.begun_by(run)

    def count_open(self) -> int:
        """How many runs have been submitted and have not ended."""
        return self.reader.count_open()

    def held_back(self) -> set[str]:
        """The open runs that a restore has parked and nobody has resumed since: none of them goes on by itself."""
        return held_back(self.reader)

    def find_run(self, beginning: str, tenant: str | None = None) -> RunRow:
        """The one run, of a tenant if one is given, whose id begins so. Raises SettingsError if there is none, or more
        than one."""
        return self.reader.find_run(beginning, tenant)

    def last_seq(self) -> int:
        """The number of the last durable event; 0 if there is none."""
        return self._watermark.at

    def wait(self, after: int, timeout_s: float) -> bool:
        """Block until there is a durable event numbered above `after`; False after `timeout_s` seconds."""
        return self._watermark.wait(after + 1, timeout_s)

    async def beyond(self, after: int, timeout_s: float | None = None) -> bool:
        """As `wait`, for a task. None waits for ever."""
        return await self._watermark.arrive(after + 1, timeout_s)

    async def flushed(self) -> None:
        """Return once all that was appended so far is on disk. Raises LedgerFailed."""
        await self._watermark.arrive(self._sealer.last)

    def close(self) -> None:
        """Write what is queued, then close. May be called twice. Raises LedgerFailed if not all that was acknowledged
        is in the tables; the next opening files it."""
        with self._sealing:
            if self._closed:
                return
            self._closed = True
        whole = self._writer.stop() if self._writer else True
        if self._mirroring:
            self._mirroring.stop()
        self._watermark.fail(LedgerFailed("the ledger is closed", str(self.folder)))
        try:
            self._connection.close()
            if not whole:
                self._watermark.check()
        except duckdb.Error as error:
            raise LedgerFailed(f"the ledger did not close: {first_line(error)}", str(self.folder)) from None
        finally:
            self._lock.release(clear=not self.read_only)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _start(self) -> Writer:
        """The writer at work, if what it is to go on from is what was signed."""
        tree, tiles = resume(self.reader)
        self.proofs.agree(tree)
        if self.mirror:
            self.mirror.check()
            key = Key(self.proofs.name, self.proofs.public)
            self.proofs.agree_with(self.mirror.checkpoints(key, newest_only=True, gaps=gaps(self.reader)))
        first, (signed, _) = self.reader.first_hash(), self.reader.checkpoint() or (0, "")
        unmarked(self.reader, self.marks, signed)
        notary = Notary(tree, self._signing_key, first, signed)
        journal = Journal(self.folder)
        self._mirroring = Mirroring(self.mirror) if self.mirror else None
        keep = self._mirroring.keep if self._mirroring else _nowhere
        applier = Applier(Tables(self._connection), notary, tiles, filed=journal.file, keep=keep, fail=self._failed)
        writer = Writer(journal, applier, self._watermark, str(self.folder))

        def settle() -> None:
            if not applier.settle():
                self._watermark.check()

        self.reader.settle = settle
        writer.start()
        return writer

    def _failed(self, error: BaseException) -> None:
        if self._writer:
            self._writer.fail(error)

    def _key(self, name: str, in_use: bool) -> bytes:
        path = self.folder / KEYS / name
        if self.read_only or path.exists() or in_use:
            return read_key(path)
        return make_key(path)


def _lock(folder: Path, read_only: bool) -> FolderLock:
    """The folder's lock. What a crash left in the journal is filed first: a reader cannot do that."""
    lock = FolderLock(folder, shared=read_only)
    if not (read_only and left(folder)):
        return lock
    lock.release(clear=False)
    try:
        lock = FolderLock(folder, shared=False)
    except SettingsError as error:
        what = f"the last events are only in the journal, and {error.what}"
        raise SettingsError(what, str(folder), "start the runtime once: it files them") from None
    try:
        recover_folder(folder)
    finally:
        lock.release(clear=True)
    return FolderLock(folder, shared=True)


def _settle(folder: Path) -> None:
    """Have what a crash left of a restore finished."""
    try:
        settle(folder)
    except OSError as error:
        raise unusable(folder, error) from None


def _nowhere(note: str, now: datetime) -> None:
    """There is no mirror."""

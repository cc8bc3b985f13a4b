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
from store.keys.scope import Owner
from store.keys.site_key import Site
from store.ledger.archive import Archive
from store.ledger.database import KEYS, open_for_reading, open_for_writing, prepare_folder
from store.ledger.errors import LedgerFailed
from store.ledger.gap import gaps, held_back
from store.ledger.keeper import Keeper
from store.ledger.lock import FolderLock
from store.ledger.marks import Marks
from store.ledger.mirror import Mirror
from store.ledger.needs import unmarked
from store.ledger.notary import Notary
from store.ledger.proofs import Proofs
from store.ledger.reader import Reader, RunRow
from store.ledger.sealer import Sealer, check
from store.ledger.tiles import resume
from store.ledger.watermark import Watermark
from store.ledger.writer import Entry, Writer, first_line
from store.records.canonical import Json
from store.records.errors import Timeout
from store.records.event import Draft, Event
from store.verify import Key

EVERYTHING = 2**31
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
        unsigned: bool,
        above: int = 0,
    ) -> None:
        """`unsigned`: an earlier version wrote it, which signed nothing. `above` as for `open`."""
        self.folder = folder
        self.read_only = read_only
        self.mirror = Mirror(mirror) if mirror else None
        self._on_mirror: Callable[[str], None] = _nobody
        self._mirror_trouble = ""
        self.reader = Reader(connection, str(folder))
        self.keystore = keystore
        self.archive = Archive(keystore)
        self._signing_key = self._key("checkpoint.key", not unsigned and self.reader.last_seq() > 0)
        self.marks = Marks(self._signing_key)
        self._lock = lock
        self._connection = connection
        self._sealing = threading.Lock()
        last, epoch = self.reader.last_seq(), self.reader.last_epoch()
        self._watermark = Watermark(last)
        self._sealer = Sealer(last, max(epoch, above) + 1, {} if read_only else self.reader.heads())
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
    ) -> "Ledger":
        """Open the ledger in `folder`, and make it if it is not there; read-only, it starts and writes nothing.

        `mirror` is a folder for the checkpoints; `site` says where the site key is, if not in the data folder; the new
        epoch is above the one that `above` names, which the ledger may know nothing of; `lose` says to go on without
        data keys that an older copy of the keystore does not have. Raises
        Unreachable if another process has the ledger, SettingsError if a folder cannot be used, IntegrityError if what
        is there is no ledger of this version, or not what was signed; for writing, Locked if the site key is missing.
        """
        if not read_only:
            prepare_folder(folder)
        lock = FolderLock(folder, shared=read_only)
        connection = None
        try:
            site, unsigned = site or Site(folder / KEYS), False
            if read_only:
                connection, keystore = open_for_reading(folder, site)
            else:
                connection, keystore, unsigned = open_for_writing(folder, site)
            told = {"read_only": read_only, "unsigned": unsigned}
            ledger = cls(folder, lock, connection, keystore, mirror=mirror, above=above, **told)
        except BaseException:
            if connection:
                connection.close()
            lock.release(clear=not read_only)
            raise
        try:
            if not read_only:
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

    def watch_mirror(self, tell: Callable[[str], None]) -> None:
        """Have somebody told why checkpoints no longer get to the mirror, and with "" when they do again; at once, if
        it is so now. Later calls come from the writer's thread."""
        self._on_mirror = tell
        if self._mirror_trouble:
            tell(self._mirror_trouble)

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
            event, data, digest = self._sealer.seal(draft, packed.id if packed else "")
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

    def events(self, after: int = 0, run: str = "", limit: int = 500, kinds: Sequence[str] = ()) -> list[Event]:
        """Up to `limit` durable events numbered above `after`, in order; of one run, of some kinds, if given."""
        return self.reader.events(after, run, limit, kinds)

    def run_events(self, run: str) -> list[Event]:
        """Every durable event of a run, in order."""
        return self.reader.events(run=run, limit=EVERYTHING) if run else []

    def runs(self, limit: int = 50) -> list[RunRow]:
        """The newest runs first."""
        return self.reader.runs(limit)

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

    def find_run(self, beginning: str) -> RunRow:
        """The one run whose id begins so. Raises SettingsError if there is none, or more than one."""
        return self.reader.find_run(beginning)

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
        """Write what is queued, then close. May be called twice, and after a failure."""
        with self._sealing:
            if self._closed:
                return
            self._closed = True
        if self._writer:
            self._writer.stop()
        self._watermark.fail(LedgerFailed("the ledger is closed", str(self.folder)))
        try:
            self._connection.close()
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
        writer = Writer(self._connection, self._watermark, notary, tiles, self._keep, str(self.folder))
        writer.start()
        return writer

    def _keep(self, note: str, now: datetime) -> None:
        """Mirror a checkpoint. If that fails, somebody is told once, and all goes on; if it hangs, so do we."""
        if self.mirror is None:
            return
        try:
            self.mirror.keep(note, now)
            trouble = ""
        except OSError as error:
            trouble = error.strerror or type(error).__name__
        if trouble != self._mirror_trouble:
            self._mirror_trouble = trouble
            log.warning("the mirror of checkpoints: %s", trouble or "works again")
            self._on_mirror(trouble)

    def _key(self, name: str, in_use: bool) -> bytes:
        path = self.folder / KEYS / name
        if self.read_only or path.exists() or in_use:
            return read_key(path)
        return make_key(path)


def _nobody(_: str) -> None:
    """Nobody has asked to be told."""

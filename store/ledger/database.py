"""The database file of a ledger, the folder that it lies in, and the keystore beside it: how each is opened.

DuckDB may reach nothing but its file, and nothing is configured later.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from store.keys.files import read_key
from store.keys.keystore import FILE, Keystore
from store.keys.site_key import Site
from store.ledger import journal, schema, successor
from store.ledger.applier import BATCH
from store.ledger.entry import Entry
from store.ledger.errors import first_line
from store.ledger.lock import unusable
from store.ledger.marks import Marks
from store.ledger.reader import Reader
from store.ledger.tables import Tables, batches
from store.ledger.tiles import resume
from store.records.errors import IntegrityError, SettingsError
from store.records.event import GENESIS
from store.verify import TOMBSTONES, listed, tombstone

DATABASE, KEYS = "ledger.duckdb", "keys"
SIGNING = "checkpoint.key"
"""The key that signs checkpoints."""
EARLIER = "payload.key"
"""The key that named the payloads of format 1; needed until they are encrypted, and no longer."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",
    # Four times DuckDB's own: a checkpoint holds the writer up, and 64 MB of log are read back in a third of a second.
    "checkpoint_threshold": "64MB",
    "lock_configuration": True,
}


def open_for_reading(folder: Path, site: Site) -> tuple[duckdb.DuckDBPyConnection, Keystore]:
    """The database and the keystore, whose site key is not asked for before content is to be opened."""
    connection = connect(folder / DATABASE, True)
    try:
        schema.check(connection, str(folder))
        return connection, Keystore.open(folder / KEYS, site)
    except BaseException:
        connection.close()
        raise


def open_for_writing(folder: Path, site: Site) -> tuple[duckdb.DuckDBPyConnection, Keystore]:
    """The database and the keystore, made if they are not there. The caller has the folder's lock."""
    finish(folder)
    connection = connect(folder / DATABASE, False)
    try:
        schema.prepare(connection)
        schema.check(connection, str(folder))
        keystore = keystore_for_writing(folder, site, fresh=not _used(connection))
        recover(folder, connection)
        return connection, keystore
    except BaseException:
        connection.close()
        raise


def recover(folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """File what a crash left in the journal. Raises IntegrityError if it is not what was written, does not follow what
    is in the tables, or takes content away without the mark of who may; SettingsError if it cannot be read. Nothing is
    filed then."""
    reader = Reader(connection, str(folder))
    try:
        found = journal.read(folder, reader.last_seq()) if journal.left(folder) else []
    except OSError as error:
        raise SettingsError(f"the journal cannot be read: {error.strerror}", str(folder), "see to the disk") from None
    if not found:
        return
    heads = reader.heads()
    for entry in found:
        if entry.event.prev != heads.get(entry.event.actor, GENESIS):
            what = f"event {entry.event.seq} in the journal does not follow what is in the ledger"
            raise IntegrityError(what, str(folder), journal.RESTORE)
        heads[entry.event.actor] = entry.digest
    _refuse_unmarked(folder, found)
    tables = Tables(connection)
    try:
        for batch in batches(found, BATCH):
            tables.file(batch)
        if tiles := resume(reader)[1]:
            tables.complete(tiles)
    except duckdb.Error as error:
        what = f"the journal cannot be filed: {first_line(error)}"
        raise SettingsError(what, str(folder), "see to the disk, then start again: nothing is lost") from None
    finally:
        tables.close()


def check_closed(folder: Path) -> None:
    """Raise SettingsError unless all of a ledger that nobody has open is in its database file."""
    if journal.left(folder) or (folder / f"{DATABASE}.wal").exists():
        raise SettingsError("the ledger did not close: not all of it is in its file", str(folder), "see to the disk")


def _refuse_unmarked(folder: Path, found: Sequence[Entry]) -> None:
    """Raise IntegrityError if content is to go with an event that does not say so, or that somebody without the keys
    wrote: anybody can write a journal. What cannot be undone is not done on its word."""
    told = [entry for entry in found if entry.erases or entry.event.kind in TOMBSTONES]
    if not told:
        return
    marks = Marks(read_key(folder / KEYS / SIGNING))
    for entry in told:
        event, ids = entry.event, entry.erases
        names = isinstance(ids, list | tuple) and all(isinstance(id, str) for id in ids)
        says = event.kind in TOMBSTONES and names and listed(event.fingerprint) == tombstone(ids)
        if not says or not marks.hold(event.json()):
            what = f"event {event.seq} in the journal takes content away, and was not written by who has the keys"
            raise IntegrityError(what, str(folder), journal.RESTORE)


def recover_folder(folder: Path) -> None:
    """As `recover`, for a ledger that nobody has open. The caller has the folder's lock, for writing."""
    if not journal.left(folder):
        return
    if not (folder / DATABASE).exists():
        raise IntegrityError("there is a journal, and no database that it belongs to", str(folder), journal.RESTORE)
    connection = connect(folder / DATABASE, False)
    try:
        schema.check(connection, str(folder))
        recover(folder, connection)
    finally:
        connection.close()
    journal.Journal(folder).close(empty=True)


def finish(folder: Path) -> None:
    """Destroy what a crash left of a database that another has succeeded, and of its keys."""
    successor.finish(folder / DATABASE, folder / KEYS / EARLIER)


def _used(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether there ever was content: in the archive, destroyed, or referred to."""
    asked = {"payloads": "true", "tombstones": "true", "events": "payload <> ''"}
    queries = (f"SELECT 1 FROM {table} WHERE {where} LIMIT 1" for table, where in asked.items())
    return any(connection.execute(query).fetchall() for query in queries)


def keystore_for_writing(folder: Path, site: Site, *, fresh: bool) -> Keystore:
    """The keystore, open. One is made only where nothing was ever encrypted: `fresh`."""
    keys = folder / KEYS
    keystore = Keystore.make(keys, site) if fresh and not (keys / FILE).exists() else Keystore.open(keys, site)
    keystore.unlock_for_writing()
    return keystore


def prepare_folder(folder: Path) -> None:
    """Have a folder that only this user can enter. Raises SettingsError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            # DuckDB makes its write-ahead log under the umask of the moment; the folder is what keeps others out.
            folder.chmod(0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise unusable(folder, error) from None


@contextmanager
def _private() -> Iterator[None]:
    """Files made meanwhile are for this user alone. The umask belongs to the process: keep this short."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def connect(path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    """The database at a path. Raises SettingsError if it cannot be used, IntegrityError if it is none."""
    if read_only and not path.exists():
        raise SettingsError("there is no ledger yet", str(path.parent), "run a task first")
    try:
        with _private():
            return duckdb.connect(str(path), read_only=read_only, config=_CONFIG)
    except duckdb.Error as error:
        if path.exists() and not os.access(path, os.R_OK if read_only else os.R_OK | os.W_OK):
            raise SettingsError("the ledger cannot be opened", str(path), "run as the user that owns it") from None
        raise IntegrityError(f"the ledger cannot be opened: {first_line(error)}", str(path)) from None


def connect_two(path: Path, also: Path) -> duckdb.DuckDBPyConnection:
    """A new database at a path, from which one other can be reached as well. Raises duckdb.Error."""
    later = ("enable_external_access", "lock_configuration")
    with _private():
        connection = duckdb.connect(
            str(path), config={name: value for name, value in _CONFIG.items() if name not in later}
        )
    connection.execute("SET allowed_paths = $1", [[str(also), f"{also}.wal"]])
    for name in later:
        connection.execute(f"SET {name} = {_CONFIG[name]}")
    return connection


def settle(path: Path) -> None:
    """Have all that is in the write-ahead log of a closed database in its file. Raises as `connect`, duckdb.Error."""
    with connect(path, False) as connection:
        connection.execute("CHECKPOINT")

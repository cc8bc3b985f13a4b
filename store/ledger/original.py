"""The original of a ledger, kept in a folder as it was before an upgrade: a backup of a database of any format.

    ledger.duckdb    the database, byte for byte, with what was in its write-ahead log
    checkpoint       the signed note over all of its events; not of format 1
    keys/            the key that the upgrade destroys; only of format 1, whose content is not encrypted

It is what the version that wrote the ledger can restore. A file is copied whole, so what was deleted from it may travel
along, encrypted if it ever was. Other keys are never among it: an upgrade leaves them where they are.
"""

import filecmp
import os
import shutil
from pathlib import Path

import duckdb

from store.keys.files import private_subfolder, read_key, sync_file, sync_folder, write_private
from store.ledger.backup import CHECKPOINT, signed
from store.ledger.census import Census, take
from store.ledger.database import DATABASE, EARLIER, KEYS, connect, settle
from store.ledger.errors import first_line
from store.ledger.format import format_of
from store.records.canonical import sha256
from store.records.errors import IntegrityError, SettingsError

CHUNK = 2**20


def keep(folder: Path, to: Path) -> Census:
    """Copy the closed ledger of the data folder `folder` to a folder that is not there yet, and verify the copy.

    What is in it, by the copy. Raises SettingsError if it cannot be written, IntegrityError if an event is missing or
    damaged. The original is not touched.
    """
    if to.exists() or to.is_symlink():
        raise SettingsError("there is something already", str(to), "name a folder that does not exist")
    aside = to.with_name(f".{folder.name}-{sha256(bytes(folder.absolute()))[:8]}.original")
    try:
        if aside.exists():  # a crash left it, and nobody else has this name: the data folder is locked
            shutil.rmtree(aside)
        aside.mkdir(mode=0o700)
        try:
            found = _written(folder, aside)
            aside.rename(to)
        except BaseException:
            shutil.rmtree(aside)
            raise
        sync_folder(to.parent)
    except (OSError, duckdb.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or first_line(error)
        what = f"the backup cannot be written: {reason}"
        raise SettingsError(what, str(to), "choose another place with --backup; the ledger is as it was") from None
    return found


def _written(folder: Path, aside: Path) -> Census:
    path, log = aside / DATABASE, f"{DATABASE}.wal"
    _copy(folder / DATABASE, path)
    if (folder / log).exists():
        _copy(folder / log, aside / log)
    settle(path)
    with connect(path, False) as connection:
        plain = format_of(connection, str(path)) == 1
        if not plain and connection.execute("SELECT 1 FROM events LIMIT 1").fetchall():
            note = signed(connection, read_key(folder / KEYS / "checkpoint.key"), str(folder))
            write_private(aside / CHECKPOINT, note.encode())
            connection.execute("CHECKPOINT")
    if plain:
        write_private(private_subfolder(aside / KEYS) / EARLIER, read_key(folder / KEYS / EARLIER))
    sync_file(path)
    sync_folder(aside)
    return take(path, folder)


def _copy(source: Path, to: Path) -> None:
    """A private copy, read again and compared."""
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as copy, source.open("rb") as file:
        shutil.copyfileobj(file, copy, CHUNK)
        copy.flush()
        os.fsync(descriptor)
    if not filecmp.cmp(source, to, shallow=False):
        raise IntegrityError("a copy is not what was copied", str(to), "see to the disk")

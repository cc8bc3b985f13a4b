"""Backups: a folder with a copy of the ledger as it was at one event, and the checkpoint that signs it.

    ledger.duckdb   events, archive, tree and checkpoints
    checkpoint      the signed note over all of its events: keep it elsewhere as well

The copy is made row by row out of one snapshot of the database, so nothing that is appended meanwhile waits for it, and
what was deleted does not travel: a copy of the file would take along what shredding and sweeps have left in it. Keys
are never among it.
"""

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from store.keys.files import read_key, sync_folder, write_private
from store.ledger import schema
from store.ledger.copies import opened
from store.ledger.database import DATABASE, KEYS, connect
from store.ledger.ledger import Ledger
from store.ledger.notary import Notary
from store.ledger.reader import Reader
from store.ledger.tiles import resume
from store.ledger.verify import verify
from store.ledger.writer import first_line
from store.records.canonical import Json
from store.records.errors import IntegrityError, SettingsError
from store.records.event import Draft
from store.records.kinds import Kind
from store.verify import open_checkpoint

CHECKPOINT = "checkpoint"
PAGE = 500
"""Rows in memory at a time."""
VERSION = "1"


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A backup that is on disk and was verified: how many events it has, and the checkpoint over them."""

    events: int
    checkpoint: str


def back_up(ledger: Ledger, folder: Path, tenant: str, by: str) -> BackedUp:
    """Write a backup of an open ledger to a folder that is not there yet, verify it, and record that it was made.

    Works beside appends. Raises SettingsError if the folder cannot be written, or the ledger is empty; IntegrityError
    if the copy is not what was recorded, which the ledger then is not either.
    """
    if folder.exists() or folder.is_symlink():
        raise SettingsError("there is something already", str(folder), "name a folder that does not exist")
    ledger.flush()
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    try:
        aside.mkdir(mode=0o700)
        try:
            note = _written(ledger, aside)
            aside.rename(folder)
        except BaseException:
            shutil.rmtree(aside)
            raise
        sync_folder(folder.parent)
    except (OSError, duckdb.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or first_line(error)
        raise SettingsError(f"the backup cannot be written: {reason}", str(folder), "choose another place") from None
    signed = open_checkpoint(note, ledger.proofs.key)
    payload: Json = {"folder": str(folder), "checkpoint": note}
    draft = Draft(
        kind=Kind.LEDGER_BACKED_UP,
        tenant=tenant,
        actor="keeper",
        actor_version=VERSION,
        principal=by,
        cause=signed.size,
        step=str(signed.size),
        fingerprint=signed.root.hex(),
    )
    ledger.append(draft, payload).wait()
    return BackedUp(signed.size, note)


def _written(ledger: Ledger, aside: Path) -> str:
    """Copy, sign and verify; the note. All is on disk when this returns, but for the folder's own name."""
    path = aside / DATABASE
    secret = read_key(ledger.folder / KEYS / "checkpoint.key")
    connection = connect(path, False)
    try:
        schema.prepare(connection, str(path))
        _copy(ledger, connection)
        note = _signed(connection, secret, str(ledger.folder))
        connection.execute("CHECKPOINT")
    finally:
        connection.close()
    with opened(path, ledger.folder, ledger.keystore) as copy:
        found = verify(copy)
    if not found.ok or found.unsigned:
        raise IntegrityError(f"the ledger is not what was recorded: {found.problems[0]}", str(ledger.folder))
    write_private(aside / CHECKPOINT, note.encode())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(aside)
    return note


def _copy(ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> None:
    """Every row of every table, as they all stand at one moment."""
    with ledger.reader.cursor() as snapshot:
        snapshot.execute("BEGIN TRANSACTION READ ONLY")
        for table in schema.tables(connection):
            snapshot.execute(f"SELECT * FROM {table}")
            with connection.appender(table) as appender:
                while page := snapshot.fetchmany(PAGE):
                    appender.append_rows(page)


def _signed(connection: duckdb.DuckDBPyConnection, secret: bytes, where: str) -> str:
    """The checkpoint over all events of the copy, signed now unless it is there. Raises SettingsError if it is empty,
    IntegrityError if an event or a tile is missing."""
    reader = Reader(connection, where)
    tree, _ = resume(reader)
    if not tree.size:
        raise SettingsError("the ledger is empty", where, "run a task first")
    if newest := reader.checkpoint(tree.size):
        return newest[1]
    size, note = Notary(tree, secret, reader.first_hash(), 0).sign()
    connection.execute("INSERT INTO checkpoints VALUES (?, now()::TIMESTAMP, ?)", [size, note])
    return note

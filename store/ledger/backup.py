"""Backups: a folder with a copy of the ledger as it was at one event, and the checkpoint that signs it.

    ledger.duckdb   events, archive, tree and checkpoints
    memory          what agents remember, each row encrypted; see store/ledger/remembered.py
    checkpoint      the signed note over all of its events: keep it elsewhere as well

The copy is made row by row out of one snapshot of the database, so nothing that is appended meanwhile waits for it, and
what was deleted does not travel: a copy of the file would take along what shredding and sweeps have left in it. Keys
are never among it.
"""

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from store.keys.files import read_key, sync_file, sync_folder, write_private
from store.ledger import schema
from store.ledger.copies import opened
from store.ledger.database import DATABASE, KEYS, connect
from store.ledger.errors import first_line
from store.ledger.ledger import Ledger
from store.ledger.needs import TENANTS
from store.ledger.notary import Notary
from store.ledger.reader import Reader
from store.ledger.remembered import FILE as MEMORY
from store.ledger.remembered import sign, write
from store.ledger.tiles import resume
from store.ledger.verify import verify
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
    """A backup that is on disk and was verified: how many events it has, the checkpoint over them, and how many things
    that agents remember; None if the ledger was opened without its memory."""

    events: int
    checkpoint: str
    memories: int | None = None


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
            note, memories = _written(ledger, aside)
            aside.rename(folder)
        except BaseException:
            shutil.rmtree(aside)
            raise
        sync_folder(folder.parent)
    except (OSError, duckdb.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or first_line(error)
        raise SettingsError(f"the backup cannot be written: {reason}", str(folder), "choose another place") from None
    checkpoint = open_checkpoint(note, ledger.proofs.key)
    payload: Json = {"folder": str(folder), "checkpoint": note}
    draft = Draft(
        kind=Kind.LEDGER_BACKED_UP,
        tenant=tenant,
        actor="keeper",
        actor_version=VERSION,
        principal=by,
        cause=checkpoint.size,
        step=str(checkpoint.size),
        fingerprint=checkpoint.root.hex(),
    )
    ledger.append(draft, payload).wait()
    return BackedUp(checkpoint.size, note, memories)


def _written(ledger: Ledger, aside: Path) -> tuple[str, int | None]:
    """Copy, sign and verify; the note, and how many memories. All is on disk when this returns, but for the folder's
    own name."""
    path = aside / DATABASE
    secret = read_key(ledger.folder / KEYS / "checkpoint.key")
    connection = connect(path, False)
    try:
        schema.prepare(connection)
        memories = _copy(ledger, connection, aside / MEMORY)
        note = signed(connection, secret, str(ledger.folder))
        connection.execute("CHECKPOINT")
    finally:
        connection.close()
    with opened(path, ledger.folder, ledger.keystore) as copy:
        found = verify(copy)
    if not found.ok or found.unsigned:
        raise IntegrityError(f"the ledger is not what was recorded: {found.problems[0]}", str(ledger.folder))
    if memories is not None:
        sign(aside / MEMORY, memories, note, secret)
    write_private(aside / CHECKPOINT, note.encode())
    sync_file(path)
    sync_folder(aside)
    return note, memories


def _copy(ledger: Ledger, connection: duckdb.DuckDBPyConnection, memory: Path) -> int | None:
    """Every row of every table, and all that is remembered, as they stand at one moment; how much is remembered."""
    with ledger.reader.cursor() as snapshot:
        memories = None
        with ledger.keeper.quiet():  # whoever is shredded meanwhile would get a new key here
            with ledger.still():
                ledger.reader.settle()
                snapshot.execute("BEGIN TRANSACTION READ ONLY")
                known = [tenant for (tenant,) in snapshot.execute(TENANTS).fetchall()]
                rows = ledger.memos.snapshot(known) if ledger.memos else None
            if rows is not None:
                memories = write(memory, rows, ledger.archive)
        for table in schema.tables(connection):
            snapshot.execute(f"SELECT * FROM {table}")
            with connection.appender(table) as appender:
                while page := snapshot.fetchmany(PAGE):
                    appender.append_rows(page)
        return memories


def signed(connection: duckdb.DuckDBPyConnection, secret: bytes, where: str) -> str:
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

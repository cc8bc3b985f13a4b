"""The staging folder of a restore: what is to take the places of a data folder's ledger and memory, made beside them.

The rename of the ledger decides for both. Before it a crash leaves all as it was; after it a memory waits in the
staging folder without a ledger beside it, and `settle` lets it take its place: now, or at the next start.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from store.keys.files import destroy_tree, read_key, sync_folder
from store.keys.memos import MEMORY, Memos
from store.keys.scope import Owner
from store.ledger import journal, needs, remembered
from store.ledger.database import DATABASE, KEYS, check_closed, connect
from store.records.canonical import Json
from store.records.errors import BailiwickError

if TYPE_CHECKING:
    from store.ledger.ledger import Ledger

STAGING = "restoring"
SIGNING_KEY = "checkpoint.key"

OpenMemory = Callable[[Path], Memos]
"""Opens what agents remember in a folder, which is made if need be."""


def stage(backup: Path, data: Path) -> Path:
    """A folder that is a data folder but for its place: a copy of the backup's log, and the keys that are there."""
    staging = data / STAGING
    staging.mkdir(mode=0o700)
    descriptor = os.open(staging / DATABASE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as copy, (backup / DATABASE).open("rb") as source:
        shutil.copyfileobj(source, copy, 2**20)
        copy.flush()
        os.fsync(descriptor)
    (staging / KEYS).symlink_to(Path("..") / KEYS)
    return staging


def vouched(backup: Path, data: Path, note: str) -> int | None:
    """How many memories a backup has; None if it was made without. Raises IntegrityError if they are damaged."""
    path = backup / remembered.FILE
    return remembered.check(path, note, read_key(data / KEYS / SIGNING_KEY)) if path.exists() else None


def remember(backup: Path, staging: Path, ledger: "Ledger", memory: OpenMemory) -> int:
    """Write the memory of a backup into the staging folder, but for rows whose owners' keys are no more; how many."""
    count, path = 0, backup / remembered.FILE

    def counted() -> Iterator[tuple[Owner, Json]]:
        nonlocal count
        for each in remembered.read(path, ledger.keystore):
            count += 1
            yield each

    new = memory(staging / MEMORY)
    try:
        new.put(counted() if path.exists() else ())
    finally:
        new.close()
    return count


def set_aside(data: Path, ledger: "Ledger", there: Memos | None, note: str) -> str:
    """Keep the ledger and the memory that are there in a folder of their own, and give its name; empty if there are
    none. The memory is encrypted, as in a backup: where it lies then, no shredding looks for it."""
    old, before = data / DATABASE, data / STAGING / "remembered"
    count = 0
    if there:
        tenants = {*needs.tenants(ledger.reader), *(each.owner.tenant for each in ledger.keystore.records.values())}
        count = remembered.write(before, there.snapshot(sorted(tenants)), ledger.archive)
        remembered.sign(before, count, note, read_key(data / KEYS / SIGNING_KEY))
    if not count and not old.exists():
        return ""
    with contextlib.suppress(BailiwickError):  # what is in its write-ahead log becomes part of it, if it can
        if old.exists():
            connect(old, False).close()
    folder = data / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    folder.mkdir(mode=0o700)
    for each in (old, *_beside(old)):
        if each.exists():
            os.link(each, folder / each.name)
    if count:
        before.rename(folder / remembered.FILE)
    sync_folder(folder)
    return str(folder)


def take_over(data: Path) -> None:
    """Let what is staged take its places. Raises SettingsError if not all of it is there."""
    check_closed(data / STAGING)
    old = data / DATABASE
    for each in _beside(old):  # they are the old one's, and must not be read into the new one
        each.unlink(missing_ok=True)
    (data / STAGING / DATABASE).replace(old)
    sync_folder(data)
    settle(data)


def settle(data: Path) -> None:
    """Finish a restore whose ledger is in its place; clear away one that did not get there. Nobody may use the memory.
    Raises OSError."""
    staging = data / STAGING
    if not staging.exists():
        return
    new = staging / MEMORY
    if new.exists() and not (staging / DATABASE).exists():
        if (data / MEMORY).exists():
            destroy_tree(data / MEMORY)
        new.rename(data / MEMORY)
        sync_folder(data)
    elif new.exists():
        destroy_tree(new)
    shutil.rmtree(staging)


def _beside(database: Path) -> list[Path]:
    """Where what is not yet in a database may be."""
    return [database.with_name(f"{database.name}.wal"), *(database.with_name(name) for name in journal.NAMES)]

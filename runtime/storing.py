"""What the gateway answers about space and backups: from a ledger, in a thread, as views."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from runtime.gateway.messages import BackupView, ContentUse, MemoryUse, StorageView, TableUse
from runtime.reading import Reach
from store.ledger.ledger import Ledger
from store.records.errors import Denied, SettingsError, Unreachable
from store.records.identity import User


@dataclass(frozen=True)
class Storing:
    """Backups of one ledger, for one user, who must be an admin."""

    ledger: Ledger
    user: User

    async def backup(self, folder: str) -> BackupView:
        """As Verbs.backup."""
        from store.ledger.backup import back_up

        if "admin" not in self.user.roles:
            raise Denied(f"{self.user.name} may not make backups", do="ask someone with the role admin")
        path = Path(folder)
        if not path.is_absolute():
            raise SettingsError("the folder of a backup is named from the root", folder, "name the whole path")
        done = await asyncio.to_thread(back_up, self.ledger, path, self.user.tenant, self.user.name)
        return BackupView(events=done.events, checkpoint=done.checkpoint, memories=done.memories)


async def storage(ledger: Ledger) -> StorageView:
    """As Queries.storage."""
    from store.ledger.storage import measure

    try:
        found = await asyncio.to_thread(measure, ledger)
    except OSError as error:
        raise Unreachable(f"what is stored cannot be measured: {error.strerror}", str(ledger.folder)) from None
    return StorageView(
        folder=str(ledger.folder),
        tables=tuple(TableUse(table=table, rows=rows, bytes=size) for table, (rows, size) in found.tables.items()),
        content=tuple(
            ContentUse(tenant=tenant, retention=retention, payloads=count, bytes=size)
            for (tenant, retention), (count, size) in found.content.items()
        ),
        memory=tuple(
            MemoryUse(tenant=tenant, retention=retention, memories=count, bytes=size)
            for (tenant, retention), (count, size) in found.memory.items()
        ),
        files=found.files,
        free=found.free,
        events_per_day=found.events_per_day,
        bytes_per_day=found.bytes_per_day,
        full_in_days=found.full_in_days,
    )


def within(reach: Reach, found: StorageView) -> StorageView:
    """Of what takes space, a tenant's content and memory, and what is free, which is so for everybody who uses the
    machine. The site's totals are for who may read the whole log: less one's own they are the others'."""
    if reach.whole:
        return found
    return StorageView(
        folder=found.folder,
        content=tuple(each for each in found.content if reach.covers(each.tenant)),
        memory=tuple(each for each in found.memory if reach.covers(each.tenant)),
        free=found.free,
    )

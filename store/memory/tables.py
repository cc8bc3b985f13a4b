"""The tables of all tenants in one folder: found, made and opened, shared by those that use them.

LanceDB loads with the first table and not before. It makes its files under the umask: the folder, 0700, keeps others
out.
"""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from store.memory import rewriting
from store.memory.lane import Lane, Turns
from store.memory.rows import schema, table_name
from store.records.errors import BailiwickError, IntegrityError, SettingsError, Unreachable

# Read when lancedb loads: it warns of every table that it makes as of one that is not there.
os.environ.setdefault("LANCEDB_LOG", "error")

FULL_BYTES = 1 << 20
"""With less free space than this the disk counts as full, whatever the database says went wrong."""


class Tables:
    """What is in one folder, for one process. Its coroutines run on its lane. Made without `open` it only reads."""

    def __init__(self, folder: Path, *, writable: bool = False) -> None:
        self.folder = folder
        self._writable = writable
        self.lane = Lane()
        self.turns = Turns()
        self._connection: Any = None
        self._tables: dict[str, Any] = {}
        self._opening = asyncio.Lock()

    @classmethod
    def open(cls, folder: Path) -> "Tables":
        """The tables in `folder`, which is made if need be. Raises SettingsError if it cannot be."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise SettingsError(f"the memory cannot be opened: {error.strerror}", str(folder)) from None
        return cls(folder, writable=True)

    def has(self, tenant: str) -> bool:
        """Whether there is a table: a folder with neither a version nor data in it is what a full disk left behind."""
        folder = self.folder / f"{table_name(tenant)}.lance"
        if self._writable and folder.with_suffix(rewriting.OLD).exists():  # an exchange that failed; see `mend`
            return True
        return any((folder / "_versions").glob("*.manifest")) or any((folder / "data").glob("*"))

    def mend(self) -> None:
        """Finish an exchange that failed or was killed, before a table is opened. Raises OSError."""
        if self._writable:
            rewriting.finish(self.folder)

    @asynccontextmanager
    async def shared(self, tenant: str, dimensions: int) -> AsyncIterator[Any]:
        """The tenant's table with its index, made at first use, beside others that use it. Raises IntegrityError or
        Unreachable if LanceDB cannot read or write it, SettingsError if its vectors are not of so many dimensions."""
        async with self.turns.shared():
            with self.checked():
                table = self._tables.get(tenant) or await self._opened(tenant, dimensions)
                kept = (await table.schema()).field("vector").type.list_size
            if kept != dimensions:
                raise SettingsError(
                    f"the memory holds vectors of {kept} dimensions, the embedding model gives {dimensions}",
                    str(self.folder),
                    "use the embedding model that it was made with",
                )
            with self.checked():
                yield table

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Nobody else uses a table, and none is open: the files may be exchanged. Raises as `shared`."""
        async with self.turns.alone():
            self.let_go()
            with self.checked():
                self.mend()
                yield

    def let_go(self) -> None:
        """Close what is open. LanceDB knows files by their names: after an exchange only a new connection is right."""
        self._tables.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Let go of the files, and end the lane. May be called twice."""
        self.let_go()
        self.lane.close()

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Makes of what LanceDB raises the error that it is: a full disk passes, and the run that met it can go on
        then; a damaged table does not."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise self._damaged(error) from None

    async def _opened(self, tenant: str, dimensions: int) -> Any:
        async with self._opening:
            if tenant not in self._tables:
                self._tables[tenant] = await self._open_table(tenant, dimensions)
        return self._tables[tenant]

    async def _open_table(self, tenant: str, dimensions: int) -> Any:
        from lancedb.index import FTS

        if self._connection is None:
            self._connection = await connect(self.folder)
        self.mend()
        name = table_name(tenant)
        if self.has(tenant):
            table = await self._connection.open_table(name)
        else:
            table = await self._connection.create_table(name, schema=schema(dimensions), mode="overwrite")
        # Looked for each time: a crash may have come between table and index.
        if not await table.list_indices():
            await table.create_index("text", config=FTS())
        return table

    def _damaged(self, error: Exception) -> BailiwickError:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if full or shutil.disk_usage(self.folder).free < FULL_BYTES:
            return Unreachable("the disk is full, the memory cannot be used", str(self.folder), "free some space")
        return IntegrityError(
            f"the memory cannot be used: {type(error).__name__}", str(self.folder), "restore it from a backup"
        )


async def connect(folder: Path) -> Any:
    """A connection of its own to the tables in a folder."""
    import lancedb

    return await lancedb.connect_async(str(folder))

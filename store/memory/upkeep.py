"""Upkeep: what becomes of memory after its use. It lists, erases, copies and puts back rows, on the word of whoever
decides that; see store/keys/memos.py for what each promises.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from store.keys.files import sync_tree
from store.keys.memos import Memo
from store.keys.scope import Owner
from store.memory import rewriting
from store.memory.rows import from_plain, plain, schema, table_name
from store.memory.tables import Tables, connect
from store.records.canonical import Json
from store.records.errors import IntegrityError

BATCH = 1024
"""Rows in memory at a time."""
TOLD = ("id", "user", "retention", "run", "time", "text", "tags", "vector")


class Upkeep:
    """Of the tables in one folder; those that a runtime has open, if it shares them."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    @classmethod
    def open(cls, folder: Path) -> "Upkeep":
        """As Tables.open, for who uses nothing else of the memory."""
        return cls(Tables.open(folder))

    def finish(self) -> None:
        """As Memos.finish."""
        with self.tables.checked():
            self.tables.mend()

    def memos(self, tenant: str) -> list[Memo]:
        """As Memos.memos."""
        return self.tables.lane.wait(self._memos(tenant)) if self.tables.has(tenant) else []

    def erase(self, tenant: str, ids: Collection[str]) -> None:
        """As Memos.erase."""
        if ids and self.tables.has(tenant):
            self.tables.lane.wait(self._erase(table_name(tenant), set(ids)))

    def snapshot(self, tenants: Collection[str]) -> Iterator[tuple[Owner, Json]]:
        """As Memos.snapshot."""
        names = {f"{table_name(tenant)}.lance" for tenant in tenants}
        there = {each.name for each in self.tables.folder.glob("*.lance") if not each.name.endswith(rewriting.NEW)}
        strange = sorted(there - names)
        if strange:
            what, do = "the memory holds a table of a tenant that the log does not know", "move it away"
            raise IntegrityError(what, str(self.tables.folder / strange[0]), do)
        found = [tenant for tenant in tenants if self.tables.has(tenant)]
        return self._rows(self.tables.lane.wait(self._pinned(found)) if found else {})

    def put(self, rows: Iterable[tuple[Owner, Json]]) -> None:
        """As Memos.put."""
        left = iter(rows)
        while page := list(islice(left, BATCH)):
            self.tables.lane.wait(self._put(page))
        sync_tree(self.tables.folder)

    def close(self) -> None:
        """As Memos.close."""
        self.tables.close()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Any]:
        """A connection of its own, beside nobody."""
        async with self.tables.alone():
            connection = await connect(self.tables.folder)
            try:
                yield connection
            finally:
                connection.close()

    async def _memos(self, tenant: str) -> list[Memo]:
        found = []
        async with self._alone() as connection:
            table = await connection.open_table(table_name(tenant))
            async for batch in await table.query().select(list(TOLD)).to_batches(max_batch_length=BATCH):
                width = batch.schema.field("vector").type.list_size * 4
                for each in batch.drop_columns(["vector"]).to_pylist():
                    owner = Owner(tenant, each["user"], each["retention"])
                    size = len(each["text"].encode()) + len(each["tags"].encode()) + width
                    found.append(Memo(each["id"], owner, each["run"], each["time"], size))
        return found

    async def _erase(self, name: str, ids: set[str]) -> None:
        folder = self.tables.folder
        async with self._alone() as connection:
            await rewriting.without(connection, folder, name, ids)
            rewriting.exchange(folder, name)

    async def _pinned(self, tenants: Iterable[str]) -> dict[str, Any]:
        """Readers of every table as it is now: each stays with the version that it began with."""
        async with self.tables.alone():
            connection = await connect(self.tables.folder)
            return {
                tenant: await (await connection.open_table(table_name(tenant)))
                .query()
                .to_batches(max_batch_length=BATCH)
                for tenant in tenants
            }

    def _rows(self, readers: dict[str, AsyncIterator[Any]]) -> Iterator[tuple[Owner, Json]]:
        for tenant, reader in readers.items():
            while (batch := self.tables.lane.wait(self._next(reader))) is not None:
                for row in batch.to_pylist():
                    yield Owner(tenant, row["user"], row["retention"]), plain(row)

    async def _next(self, reader: AsyncIterator[Any]) -> Any:
        with self.tables.checked():
            return await anext(reader, None)

    async def _put(self, page: list[tuple[Owner, Json]]) -> None:
        tenants: dict[str, list[Json]] = {}
        for owner, row in page:
            tenants.setdefault(owner.tenant, []).append(from_plain(row))
        async with self._alone() as connection:
            for tenant, rows in tenants.items():
                if self.tables.has(tenant):
                    table = await connection.open_table(table_name(tenant))
                else:
                    table = await connection.create_table(table_name(tenant), schema=schema(len(rows[0]["vector"])))
                await table.add(rows)

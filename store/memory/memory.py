"""Memory: remember a text with its tags and labels, recall the nearest ones. One LanceDB table per tenant.

Search is hybrid: by vector and by full text, fused by reciprocal rank (Cormack, Clarke and Buettcher, Reciprocal Rank
Fusion Outperforms Condorcet, 2009). Filters run before retrieval, so what may not be seen takes no place in the answer.
"""

import asyncio
import errno
import json
import math
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lancedb
from lancedb.index import FTS

from store.memory.rows import Recollection, labelled, recollection, schema, table_name
from store.records.errors import BailiwickError, Denied, IntegrityError, SettingsError, Unreachable
from store.records.labels import Classification, Labels

Embed = Callable[[list[str]], Awaitable[list[list[float]]]]
"""Texts to vectors, one each, all of the same length."""

FULL_BYTES = 1 << 20
"""With less free space than this the disk counts as full, whatever the database says went wrong."""

CANDIDATES = 32
"""Rows that each of the two searches gives to the fusion: a row that only one of them put on its list ranks low."""

TIDY_EVERY = 64
"""Versions of a table between compactions: each leaves files behind, and rows that the text index has not seen."""


class Memory:
    """The memory of all tenants in one folder. For one process and one event loop."""

    def __init__(self, folder: Path, embed: Embed) -> None:
        self._folder = folder
        self._embed = embed
        self._connection: Any = None
        self._tables: dict[str, Any] = {}
        self._opening = asyncio.Lock()

    @classmethod
    def open(cls, folder: Path, embed: Embed) -> "Memory":
        """The memory in `folder`, which is made if need be. Raises SettingsError if it cannot be."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)  # LanceDB makes its files under the umask; the folder keeps others out
        except OSError as error:
            raise SettingsError(f"the memory cannot be opened: {error.strerror}", str(folder)) from None
        return cls(folder, embed)

    async def remember(
        self,
        *,
        id: str,
        tenant: str,
        user: str,
        text: str,
        tags: Mapping[str, str],
        labels: Labels,
        run: str,
        retention: str = "standard",
    ) -> None:
        """Keep a text under an id of the caller's (run and step). A second time under one id changes nothing.

        Raises Denied if the labels are another tenant's.
        """
        if labels.tenant != tenant:
            raise Denied("a text of one tenant cannot be remembered for another", tenant)
        vector = await self._vector(text)
        row = {
            "id": id,
            "text": text,
            "tags": json.dumps(dict(tags)),
            "user": user,
            "run": run,
            "retention": retention,
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "vector": vector,
            **labelled(labels),
        }
        async with self._table(tenant, len(vector)) as table:
            done = await table.merge_insert("id").when_not_matched_insert_all().execute([row])
            if done.version % TIDY_EVERY == 0:
                await table.optimize()

    async def recall(
        self,
        tenant: str,
        query: str,
        limit: int = 3,
        max_classification: Classification = Classification.RESTRICTED,
    ) -> list[Recollection]:
        """The texts of a tenant nearest to `query`, best first, none above `max_classification`."""
        if limit < 1 or not self._has(tenant):
            return []
        vector = await self._vector(query)
        async with self._table(tenant, len(vector)) as table:
            search = (
                table.query()
                .where(f"classification <= {int(max_classification)}")
                .nearest_to(vector)
                .distance_type("cosine")
                .nearest_to_text(query, columns=["text"])
                .limit(max(CANDIDATES, limit))
            )
            rows = await search.to_list()
        return [recollection(tenant, row) for row in rows[:limit]]

    def close(self) -> None:
        """Let go of the files. May be called twice."""
        self._tables.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _vector(self, text: str) -> Sequence[float]:
        (vector,) = await self._embed([text])
        if not vector or not all(math.isfinite(number) for number in vector):
            raise SettingsError("the embedding model gave no usable vector", do="`bailiwick models verify` checks it")
        return vector

    def _has(self, tenant: str) -> bool:
        """Whether there is a table: a folder with neither a version nor data in it is what a full disk left behind."""
        folder = self._folder / f"{table_name(tenant)}.lance"
        return any((folder / "_versions").glob("*.manifest")) or any((folder / "data").glob("*"))

    @asynccontextmanager
    async def _table(self, tenant: str, dimensions: int) -> AsyncIterator[Any]:
        """The tenant's table, made at first use. Raises IntegrityError if LanceDB cannot read or write it."""
        try:
            async with self._opening:
                if tenant not in self._tables:
                    self._tables[tenant] = await self._open_table(tenant, dimensions)
            table = self._tables[tenant]
            kept = (await table.schema()).field("vector").type.list_size
        except (OSError, RuntimeError, ValueError) as error:
            raise self._damaged(error) from None
        if kept != dimensions:
            raise SettingsError(
                f"the memory holds vectors of {kept} dimensions, the embedding model gives {dimensions}",
                str(self._folder),
                "use the embedding model that it was made with",
            )
        try:
            yield table
        except (OSError, RuntimeError, ValueError) as error:
            raise self._damaged(error) from None

    async def _open_table(self, tenant: str, dimensions: int) -> Any:
        if self._connection is None:
            self._connection = await lancedb.connect_async(str(self._folder))
        name = table_name(tenant)
        if self._has(tenant):
            table = await self._connection.open_table(name)
        else:
            table = await self._connection.create_table(name, schema=schema(dimensions), mode="overwrite")
        # Looked for each time: a crash may have come between table and index.
        if not await table.list_indices():
            await table.create_index("text", config=FTS())
        return table

    def _damaged(self, error: Exception) -> BailiwickError:
        """The error to raise: a full disk passes, and the run that met it can go on then; a damaged table does not."""
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error) or self._full():
            return Unreachable("the disk is full, the memory cannot be used", str(self._folder), "free some space")
        return IntegrityError(
            f"the memory cannot be used: {type(error).__name__}", str(self._folder), "restore it from a backup"
        )

    def _full(self) -> bool:
        return shutil.disk_usage(self._folder).free < FULL_BYTES

"""Memory: remember a text with its tags and labels, recall the nearest ones. One LanceDB table per tenant.

Search is hybrid: by vector and by full text, fused by reciprocal rank (Cormack, Clarke and Buettcher, Reciprocal Rank
Fusion Outperforms Condorcet, 2009). Filters run before retrieval, so what may not be seen takes no place in the answer.
"""

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from store.memory.lane import unbroken
from store.memory.rows import Recollection, labelled, recollection
from store.memory.tables import Tables
from store.records.errors import Denied, SettingsError
from store.records.labels import Classification, Labels

Embed = Callable[[list[str]], Awaitable[list[list[float]]]]
"""Texts to vectors, one each, all of the same length."""

CANDIDATES = 32
"""Rows that each of the two searches gives to the fusion: a row that only one of them put on its list ranks low."""

TIDY_EVERY = 64
"""Versions of a table between compactions: each leaves files behind, and rows that the text index has not seen."""


class Memory:
    """The memory of all tenants in one folder. For one process; from any event loop."""

    def __init__(self, tables: Tables, embed: Embed) -> None:
        self.tables = tables
        self._embed = embed

    @classmethod
    def open(cls, folder: Path, embed: Embed) -> "Memory":
        """The memory in `folder`, which is made if need be. Raises SettingsError if it cannot be."""
        return cls(Tables.open(folder), embed)

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
        await self.tables.lane.do(self._keep(tenant, row))

    async def recall(
        self,
        tenant: str,
        query: str,
        limit: int = 3,
        max_classification: Classification = Classification.RESTRICTED,
    ) -> list[Recollection]:
        """The texts of a tenant nearest to `query`, best first, none above `max_classification`."""
        if limit < 1 or not self.tables.has(tenant):
            return []
        vector = await self._vector(query)
        rows = await self.tables.lane.do(self._found(tenant, query, vector, limit, max_classification))
        return [recollection(tenant, row) for row in rows]

    def close(self) -> None:
        """Let go of the files. May be called twice."""
        self.tables.close()

    async def _keep(self, tenant: str, row: Mapping[str, Any]) -> None:
        async with self.tables.shared(tenant, len(row["vector"])) as table:
            await unbroken(_written(table, row))

    async def _found(
        self, tenant: str, query: str, vector: Sequence[float], limit: int, max_classification: Classification
    ) -> list[dict[str, Any]]:
        async with self.tables.shared(tenant, len(vector)) as table:
            search = (
                table.query()
                .where(f"classification <= {int(max_classification)}")
                .nearest_to(vector)
                .distance_type("cosine")
                .nearest_to_text(query, columns=["text"])
                .limit(max(CANDIDATES, limit))
            )
            rows: list[dict[str, Any]] = await search.to_list()
        return rows[:limit]

    async def _vector(self, text: str) -> Sequence[float]:
        (vector,) = await self._embed([text])
        if not vector or not all(math.isfinite(number) for number in vector):
            raise SettingsError("the embedding model gave no usable vector", do="`bailiwick models verify` checks it")
        return vector


async def _written(table: Any, row: Mapping[str, Any]) -> None:
    done = await table.merge_insert("id").when_not_matched_insert_all().execute([row])
    if done.version % TIDY_EVERY == 0:
        await table.optimize()

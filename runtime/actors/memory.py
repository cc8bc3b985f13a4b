"""The store's memory as the conductor needs it, embedded by the model server."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.actors.model_server import ModelHandle
from store.memory.memory import Memory
from store.records.canonical import Json
from store.records.labels import Labels


@dataclass(frozen=True)
class LedgerMemory:
    """Remember and recall, each row with its labels."""

    memory: Memory

    @classmethod
    def open(cls, folder: Path, model: ModelHandle) -> "LedgerMemory":
        """The memory in a folder, with the model server as its embedder."""
        return cls(Memory.open(folder, model.embed))

    async def remember(
        self, *, id: str, tenant: str, user: str, text: str, tags: Mapping[str, str], labels: Labels, run: str
    ) -> None:
        """Keep a text; the same id twice is kept once."""
        await self.memory.remember(id=id, tenant=tenant, user=user, text=text, tags=dict(tags), labels=labels, run=run)

    async def recall(self, tenant: str, query: str, limit: int) -> list[tuple[Json, Labels]]:
        """The nearest memories and their labels."""
        found = await self.memory.recall(tenant, query, limit)
        return [({"text": each.text, "tags": each.tags, "run": each.run}, each.labels) for each in found]

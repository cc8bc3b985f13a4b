"""The store's memory as runs use it, with a model as its embedder: each embedding goes on the meter of the step."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from runtime.agents.proposal import Model, ModelCall
from runtime.conductor.meter import EMBED_S, Meter
from store.keys.memos import Memos
from store.memory.memory import Embed, Memory
from store.memory.upkeep import Upkeep
from store.records.canonical import Json
from store.records.labels import Labels

_meter: ContextVar[Meter] = ContextVar("meter")
"""The meter of the step that uses the memory: the store hands its embedder texts and nothing else."""


@dataclass(frozen=True)
class LedgerMemory:
    """Remember and recall, each row with its labels."""

    memory: Memory

    @classmethod
    def open(cls, folder: Path, model: Model) -> "LedgerMemory":
        """The memory in a folder, embedded by a model. Raises SettingsError if the folder cannot be used."""
        return cls(Memory.open(folder, _embedder(model)))

    @property
    def memos(self) -> Memos:
        """The same memory, as keeping and backups see it."""
        return Upkeep(self.memory.tables)

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
        meter: Meter,
    ) -> None:
        """Keep a text; the same id twice is kept once."""
        _meter.set(meter)
        await self.memory.remember(id=id, tenant=tenant, user=user, text=text, tags=dict(tags), labels=labels, run=run)

    async def recall(self, tenant: str, query: str, limit: int, meter: Meter) -> list[tuple[Json, Labels]]:
        """The nearest memories and their labels."""
        _meter.set(meter)
        found = await self.memory.recall(tenant, query, limit)
        return [({"text": each.text, "tags": each.tags, "run": each.run}, each.labels) for each in found]

    def close(self) -> None:
        """Let go of the files. May be called twice."""
        self.memory.close()


def _embedder(model: Model) -> Embed:
    async def embed(texts: list[str]) -> list[list[float]]:
        meter = _meter.get()
        embedding = await model.embed(texts, meter.most, EMBED_S)
        meter.calls.append(ModelCall(tuple(texts), embedding))
        return embedding.vectors

    return embed

"""The rows of a tenant's table, and how they become recollections again."""

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.lib as arrow

from store.records.canonical import Json
from store.records.labels import Classification, Integrity, Labels


@dataclass(frozen=True, slots=True)
class Recollection:
    """One memory, as it was remembered. `score` orders the answers to one query and means nothing across queries."""

    id: str
    text: str
    tags: dict[str, str]
    labels: Labels
    user: str
    run: str
    retention: str
    time: str
    score: float


def table_name(tenant: str) -> str:
    """The name of a tenant's table: of fixed length and alphabet, whatever the tenant is called."""
    return "tenant-" + hashlib.sha256(tenant.encode()).hexdigest()


def schema(dimensions: int) -> Any:
    """The Arrow schema of a table whose vectors have so many dimensions."""
    text = ("id", "text", "tags", "user", "sources", "run", "retention", "time")
    numbers = [arrow.field(name, arrow.int8(), nullable=False) for name in ("classification", "integrity")]
    vector = arrow.field("vector", arrow.list_(arrow.float32(), dimensions), nullable=False)
    return arrow.schema([*(arrow.field(name, arrow.string(), nullable=False) for name in text), *numbers, vector])


def labelled(labels: Labels) -> dict[str, Any]:
    """The columns that hold labels; the tenant is the table."""
    return {
        "classification": int(labels.classification),
        "integrity": int(labels.integrity),
        "sources": json.dumps(labels.sources),
    }


def recollection(tenant: str, row: Mapping[str, Any]) -> Recollection:
    """The recollection in a row that a search gave."""
    labels = Labels(
        tenant,
        Classification(row["classification"]),
        Integrity(row["integrity"]),
        tuple(json.loads(row["sources"])),
    )
    plain = {name: row[name] for name in ("id", "text", "user", "run", "retention", "time")}
    return Recollection(**plain, tags=json.loads(row["tags"]), labels=labels, score=row["_relevance_score"])


def plain(row: Mapping[str, Any]) -> Json:
    """A whole row as JSON: its vector as base64 of 32-bit floats, little-endian."""
    vector = row["vector"]
    return {**row, "vector": base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()}


def from_plain(row: Json) -> dict[str, Any]:
    """The row that `plain` wrote. Raises ValueError, TypeError or KeyError if it is none."""
    vector = base64.b64decode(row["vector"])
    return {**row, "vector": list(struct.unpack(f"<{len(vector) // 4}f", vector))}

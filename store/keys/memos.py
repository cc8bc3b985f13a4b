"""What agents remember, as whoever keeps, copies and destroys content sees it: rows that have an owner.

Memory lies in the clear beside the log, because searching needs that, so its rows go when their owner's keys do. Plain
data and one interface: memory implements it, the ledger's keeper, backups and restores use it, and neither knows the
other.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from store.keys.scope import Owner
from store.records.canonical import Json

MEMORY = "memory"
"""Its folder in a data folder."""


@dataclass(frozen=True, slots=True)
class Memo:
    """A row, but not what it says: its id, whose it is, the run that it came from, when (UTC, ISO 8601), and the bytes
    of its text, tags and vector."""

    id: str
    owner: Owner
    run: str
    time: str
    size: int


class Memos(Protocol):
    """The memory of one data folder. Every method blocks; from any thread but one that memory itself waits for."""

    def finish(self) -> None:
        """Do what a crash left undone of an erasing. Raises IntegrityError, Unreachable."""
        ...

    def memos(self, tenant: str) -> list[Memo]:
        """Every row of a tenant; a write that has begun is waited for. Raises IntegrityError, Unreachable."""
        ...

    def erase(self, tenant: str, ids: Collection[str]) -> None:
        """Have no file say any more what these rows said; one that is not there is none to erase. All of them are gone
        when this returns, or after a crash all of them are there. Raises IntegrityError, Unreachable."""
        ...

    def snapshot(self, tenants: Collection[str]) -> Iterator[tuple[Owner, Json]]:
        """Every row of all tenants, whole, as they are now, whatever is remembered while they are read. Nothing may be
        erased meanwhile. Raises IntegrityError if there is a table of none of these tenants."""
        ...

    def put(self, rows: Iterable[tuple[Owner, Json]]) -> None:
        """Write rows that `snapshot` gave, where there are none yet; on disk when this returns. Raises IntegrityError,
        Unreachable."""
        ...

    def close(self) -> None:
        """Let go of the files. May be called twice."""
        ...

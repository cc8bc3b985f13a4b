"""Where a read-only verb gets its answers: from the runtime that holds this data folder, else from its ledger.

Neither way starts Ray or a model.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from store.records.errors import Unreachable

if TYPE_CHECKING:
    from runtime.gateway.backend import Queries
    from runtime.gateway.client import Client
    from runtime.settings import Settings


@asynccontextmanager
async def queries(settings: "Settings") -> AsyncIterator["Queries"]:
    """Something that answers queries about the data folder of `settings`.

    Raises SettingsError if there is no ledger yet, or others could have put one there; Denied if the runtime refuses
    this user.
    """
    from runtime.folders import only_ours
    from runtime.gateway.paths import listening

    if listening(settings.socket):
        async with client(settings) as connected:
            yield connected
        return
    from runtime.queries import LedgerQueries
    from store.ledger.ledger import Ledger

    if settings.data_dir.exists():
        only_ours(settings.data_dir)
    with Ledger.open(settings.data_dir, read_only=True, mirror=settings.mirror_dir) as ledger:
        yield LedgerQueries(ledger)


@asynccontextmanager
async def client(settings: "Settings") -> AsyncIterator["Client"]:
    """A connection to the runtime that holds the data folder. Raises Unreachable if none is up."""
    from runtime.gateway.client import Client
    from runtime.gateway.paths import listening

    if not listening(settings.socket):
        raise Unreachable("no runtime is up for this data folder", str(settings.data_dir), "start one: `bailiwick up`")
    async with await Client.connect(settings.socket) as connected:
        yield connected

"""Where a verb that needs no run gets its answers: from the runtime that holds this data folder, else from its ledger.

Neither way starts Ray or a model.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from store.records.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from runtime.gateway.backend import Queries
    from runtime.gateway.client import Client
    from runtime.gateway.messages import EventView, RunView
    from runtime.keeping import Keeping
    from runtime.settings import Settings
    from runtime.storing import Storing
    from store.ledger.ledger import Ledger


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
    from runtime.site_key import site

    with Ledger.open(settings.data_dir, read_only=True, mirror=settings.mirror_dir, site=site(settings)) as ledger:
        yield LedgerQueries(ledger)


@asynccontextmanager
async def keeping(settings: "Settings") -> AsyncIterator["Keeping | Client"]:
    """What takes orders about content: the runtime that holds the data folder, else its ledger, opened for writing."""
    from runtime.gateway.paths import listening

    if listening(settings.socket):
        async with client(settings) as connected:
            yield connected
        return
    from runtime.keeping import Keeping

    with writable(settings) as ledger:
        yield Keeping(ledger, settings.retention_days, settings.user)


@asynccontextmanager
async def storing(settings: "Settings") -> AsyncIterator["Storing | Client"]:
    """What makes backups: as `keeping`."""
    from runtime.gateway.paths import listening

    if listening(settings.socket):
        async with client(settings) as connected:
            yield connected
        return
    from runtime.storing import Storing

    with writable(settings) as ledger:
        yield Storing(ledger, settings.user)


@contextmanager
def writable(settings: "Settings", *, lose: bool = False) -> Iterator["Ledger"]:
    """The ledger of the data folder, which must be there; `lose` as `Ledger.open` has it. Raises Unreachable if a
    runtime has it, SettingsError."""
    from runtime.folders import only_ours
    from runtime.site_key import site
    from store.ledger.database import DATABASE
    from store.ledger.ledger import Ledger

    if not (settings.data_dir / DATABASE).exists():
        raise SettingsError("there is no ledger yet", str(settings.data_dir), "run a task first")
    only_ours(settings.data_dir)
    with Ledger.open(settings.data_dir, mirror=settings.mirror_dir, site=site(settings), lose=lose) as ledger:
        yield ledger


@asynccontextmanager
async def client(settings: "Settings") -> AsyncIterator["Client"]:
    """A connection to the runtime that holds the data folder. Raises Unreachable if none is up."""
    from runtime.gateway.client import Client
    from runtime.gateway.paths import listening

    if not listening(settings.socket):
        raise Unreachable("no runtime is up for this data folder", str(settings.data_dir), "start one: `bailiwick up`")
    async with await Client.connect(settings.socket) as connected:
        yield connected


async def trail(settings: "Settings", run: str, *, payloads: bool) -> "tuple[RunView, list[EventView]]":
    """A run, by its id or how it begins, and all of its events in order. Raises SettingsError if there is none."""
    async with queries(settings) as q:
        found = await q.run(run)
        events: list[EventView] = []
        while page := await q.events(events[-1].event["seq"] if events else 0, found.run, payloads=payloads):
            events += page
        return found, events

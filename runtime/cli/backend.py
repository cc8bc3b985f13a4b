"""Where a verb that needs no run gets its answers: from the runtime that holds this data folder, else from its ledger.

Neither way starts Ray or a model.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING

from store.records.errors import BailiwickError, Denied, SettingsError, Unreachable

if TYPE_CHECKING:
    from runtime.budgeting import Budgeting
    from runtime.gateway.backend import Queries
    from runtime.gateway.client import Client
    from runtime.gateway.messages import EventView, RunView
    from runtime.keeping import Keeping
    from runtime.reading import Read
    from runtime.settings import Settings
    from runtime.storing import Storing
    from store.keys.site_key import Site as Place
    from store.ledger.ledger import Ledger

PAGE = 500
"""Events that are asked for at once."""

PATIENCE_S, PAUSE_S = 10.0, 0.05
"""How long a ledger is waited for that another command has open, and how often it is looked at, in seconds."""


@asynccontextmanager
async def queries(settings: "Settings") -> AsyncIterator["Queries"]:
    """Something that answers queries about the data folder of `settings`.

    Without a runtime the ledger is opened for reading, and again for writing once a read is to be on record: it is so
    before it is answered; where it cannot be, stderr says so. Raises SettingsError if there is no ledger yet, or others
    could have put one there; Denied if the runtime refuses this user.
    """
    from runtime.folders import only_ours

    if is_up(settings):
        async with client(settings) as connected:
            yield connected
        return
    from runtime.queries import LedgerQueries
    from runtime.reading import Reach, Read
    from runtime.site_key import site

    if settings.data_dir.exists():
        only_ours(settings.data_dir)
    place = site(settings)  # one for all openings: a passphrase is asked for once
    with ExitStack() as held:

        def opened() -> "Ledger":
            return held.enter_context(_opened(settings, place, read_only=True, patience_s=PATIENCE_S))

        async def note(read: Read) -> None:
            held.close()  # a ledger that is open for reading cannot be opened for writing
            _record(settings, place, read)
            answers.ledger = opened()

        answers = LedgerQueries(opened(), Reach.of(settings.user), note)
        yield answers


def _record(settings: "Settings", place: "Place", read: "Read") -> None:
    """Put a read on record, in a ledger that is opened for that. Whoever has the files can read them in any case, so
    one that takes no event, a copy on a medium that cannot be written, say, is still read."""
    from runtime.diagnostics import say
    from runtime.reading import record

    try:
        with _opened(settings, place, patience_s=PATIENCE_S) as ledger:
            record(ledger, settings.user, read)
            ledger.flush()
    except (BailiwickError, OSError) as error:
        say(f"this read is not in the log: {error}")


@contextmanager
def _opened(
    settings: "Settings", place: "Place", *, read_only: bool = False, lose: bool = False, patience_s: float = 0.0
) -> Iterator["Ledger"]:
    """The ledger of the data folder, with what agents remember in it; one that another command has is waited for."""
    from store.keys.memos import MEMORY
    from store.ledger.ledger import Ledger
    from store.memory.tables import Tables
    from store.memory.upkeep import Upkeep

    folder, mirror = settings.data_dir, settings.mirror_dir
    with closing(Upkeep(Tables(folder / MEMORY)) if read_only else Upkeep.open(folder / MEMORY)) as memos:

        def opening() -> Ledger:
            return Ledger.open(folder, read_only=read_only, mirror=mirror, site=place, lose=lose, memos=memos)

        with _patient(opening, patience_s) as ledger:
            yield ledger


def _patient(opening: Callable[[], "Ledger"], patience_s: float) -> "Ledger":
    """A ledger, as soon as the command that has it for a moment is done. Raises what `Ledger.open` raises."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return opening()
        except Unreachable:
            if time.monotonic() >= end:
                raise
            time.sleep(PAUSE_S)


@asynccontextmanager
async def keeping(settings: "Settings") -> AsyncIterator["Keeping | Client"]:
    """What takes orders about content: the runtime that holds the data folder, else its ledger, opened for writing."""
    if is_up(settings):
        async with client(settings) as connected:
            yield connected
        return
    from runtime.keeping import Keeping

    with writable(settings) as ledger:
        yield Keeping(ledger, settings.retention_days, settings.user)


@asynccontextmanager
async def storing(settings: "Settings") -> AsyncIterator["Storing | Client"]:
    """What makes backups: as `keeping`."""
    if is_up(settings):
        async with client(settings) as connected:
            yield connected
        return
    from runtime.storing import Storing

    with writable(settings) as ledger:
        yield Storing(ledger, settings.user)


@asynccontextmanager
async def budgeting(settings: "Settings", *, write: bool = False) -> "AsyncIterator[Budgeting | Client]":
    """What shows budgets, and with `write` sets them: the runtime that holds the data folder, else its ledger, which is
    made if it is to be written: budgets may be there before the first run."""
    if is_up(settings):
        async with client(settings) as connected:
            yield connected
        return
    from runtime.budgeting import Budgeting
    from runtime.folders import only_ours
    from runtime.site_key import site

    if write:
        settings.open_folders()
    if settings.data_dir.exists():
        only_ours(settings.data_dir)
    with _opened(settings, site(settings), read_only=not write, patience_s=PATIENCE_S) as ledger:
        yield Budgeting(ledger, settings, settings.user)


@contextmanager
def writable(settings: "Settings", *, lose: bool = False) -> Iterator["Ledger"]:
    """The ledger of the data folder, which must be there; `lose` as `Ledger.open` has it. Raises Unreachable if a
    runtime has it, SettingsError."""
    from runtime.folders import only_ours
    from runtime.site_key import site
    from store.ledger.database import DATABASE

    if not (settings.data_dir / DATABASE).exists():
        raise SettingsError("there is no ledger yet", str(settings.data_dir), "run a task first")
    only_ours(settings.data_dir)
    with _opened(settings, site(settings), lose=lose) as ledger:
        yield ledger


@asynccontextmanager
async def client(settings: "Settings") -> AsyncIterator["Client"]:
    """A connection to the runtime that holds the data folder. Raises Unreachable if none is up."""
    from runtime.gateway.client import Client

    if not is_up(settings):
        raise Unreachable("no runtime is up for this data folder", str(settings.data_dir), "start one: `bailiwick up`")
    async with await Client.at(settings.address()) as connected:
        yield connected


def is_up(settings: "Settings") -> bool:
    """Whether a runtime is to be asked: one that listens for the data folder, or the one that `connect` names.

    Raises Denied if this user may not even try.
    """
    from runtime.gateway.paths import listening

    try:
        return bool(settings.connect) or listening(settings.socket)
    except PermissionError:
        raise Denied("this runtime belongs to others", str(settings.socket), "ask its admin to let you in") from None


async def trail(settings: "Settings", run: str, *, payloads: bool) -> "tuple[RunView, list[EventView]]":
    """A run, by its id or how it begins, and all of its events in order. Raises SettingsError if there is none."""
    async with queries(settings) as q:
        found = await q.run(run, True)
        return found, await pages(q, 0, found.run, payloads=payloads)


async def pages(queries: "Queries", after: int, run: str, *, payloads: bool, most: int = 2**31) -> "list[EventView]":
    """The events above a number, of a run if one is named, `most` of them: as many questions as the pages need."""
    events: list[EventView] = []
    while len(events) < most:
        limit = min(PAGE, most - len(events))
        page = await queries.events(events[-1].event["seq"] if events else after, run, limit, payloads)
        events += page
        if len(page) < limit:
            break
    return events

"""What a ledger that a backup is to replace still tells: how far it was, and what was destroyed in it.

It may be damaged, which is a good reason to replace it: it tells what it can then, and why not all is kept. What a
crash left in its journal is filed first; nothing else is changed.
"""

from dataclasses import dataclass
from pathlib import Path

from store.ledger import journal, schema
from store.ledger.database import DATABASE, connect, recover_folder
from store.ledger.reader import Reader
from store.records.errors import BailiwickError, IntegrityError
from store.records.event import Event
from store.records.kinds import Kind
from store.verify import Checkpoint, Invalid, Key, open_checkpoint


@dataclass(frozen=True, slots=True)
class Replaced:
    """The number of its last event, its highest `epoch`, its newest checkpoint, and what was destroyed in it: by the
    events that `shredded` keys, and the ids of payloads that are no more. `trouble` says why not all is known."""

    events: int = 0
    epoch: int = 0
    signed: tuple[Checkpoint, ...] = ()
    shredded: tuple[Event, ...] = ()
    gone: tuple[str, ...] = ()
    trouble: str = ""


def look_at(folder: Path, key: Key) -> Replaced:
    """What the ledger in a data folder tells. `key` is that of the log which is to take its place."""
    path = folder / DATABASE
    if not path.exists():
        return Replaced()
    trouble, epoch = "", journal.highest_epoch(folder)
    try:
        recover_folder(folder)
    except BailiwickError as error:
        trouble = str(error)
    try:
        connection = connect(path, True)
    except BailiwickError as error:
        return Replaced(epoch=epoch, trouble=trouble or str(error))
    try:
        schema.check(connection, str(folder))
        reader = Reader(connection, str(folder))
        return Replaced(
            reader.last_seq(),
            max(epoch, reader.last_epoch()),
            _signed(reader, key),
            tuple(reader.events(kinds=(Kind.KEYS_SHREDDED,), limit=2**31)),
            tuple(id for (id,) in reader.rows("SELECT id FROM tombstones EXCEPT SELECT id FROM payloads")),
            trouble,
        )
    except BailiwickError as error:
        return Replaced(epoch=epoch, trouble=trouble or str(error))
    finally:
        connection.close()


def _signed(reader: Reader, key: Key) -> tuple[Checkpoint, ...]:
    """The newest checkpoint; none if it is another log's. Raises IntegrityError if it does not hold."""
    newest = reader.checkpoint()
    if newest is None or not newest[1].startswith(f"{key.name}\n"):
        return ()
    try:
        return (open_checkpoint(newest[1], key),)
    except Invalid as error:
        raise IntegrityError(f"the last checkpoint does not hold: {error}") from None

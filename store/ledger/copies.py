"""A copy of a ledger's database in a file of its own, as verification looks at it. Nothing in here writes.

Keys are never in a copy: it is read with those of the data folder. What is under keys that are no more stays closed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import duckdb

from store.keys.errors import Shredded
from store.keys.files import read_key
from store.keys.keystore import Keystore
from store.ledger import schema
from store.ledger.archive import Archive, Payload
from store.ledger.database import KEYS, connect
from store.ledger.marks import Marks
from store.ledger.mirror import Mirror
from store.ledger.proofs import Proofs
from store.ledger.reader import Reader
from store.records.canonical import Json


class Opened(Protocol):
    """What verification needs: an open ledger, or a copy of one."""

    @property
    def reader(self) -> Reader: ...
    @property
    def keystore(self) -> Keystore: ...
    @property
    def archive(self) -> Archive: ...
    @property
    def proofs(self) -> Proofs: ...
    @property
    def marks(self) -> Marks: ...
    @property
    def mirror(self) -> Mirror | None: ...


class Copy:
    """An open copy, with the keys of the data folder `data`. Checkpoints of a mirror are not its concern."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, data: Path, keystore: Keystore, where: str) -> None:
        self.reader = Reader(connection, where)
        self.keystore = keystore
        self.archive: Archive = _Reachable(keystore)
        signing_key = read_key(data / KEYS / "checkpoint.key")
        self.proofs = Proofs(self.reader, signing_key, self.reader.last_seq, where)
        self.marks = Marks(signing_key)
        self.mirror: Mirror | None = None


@contextmanager
def opened(path: Path, data: Path, keystore: Keystore) -> Iterator[Copy]:
    """The copy in a file, for as long as it is needed. Raises SettingsError or IntegrityError if it is none."""
    connection = connect(path, True)
    try:
        schema.check(connection, str(path))
        yield Copy(connection, data, keystore, str(path))
    finally:
        connection.close()


class _Reachable(Archive):
    """An archive in which content whose key is no more counts as shredded: a copy outlives what is shredded after."""

    def unpack(self, payload: Payload) -> Json:
        """As Archive.unpack. Raises Shredded also if the keystore does not have the key."""
        if payload.key not in self._keystore.records:
            raise Shredded("the key of the content is not there")
        return super().unpack(payload)

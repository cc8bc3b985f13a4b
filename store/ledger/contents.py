"""Verification of the archive: every payload that events refer to is there and is what was recorded, or an event says
that it was destroyed, and its digest is over the list of what was.

Without the site key no content is opened; that each is there, and whose it is, is checked all the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import duckdb

from store.keys.errors import Locked, Shredded
from store.ledger.archive import Payload, place
from store.ledger.reader import PAYLOAD
from store.records.canonical import Json
from store.records.errors import BailiwickError, SettingsError
from store.records.kinds import Kind
from store.verify import listed, tombstone

if TYPE_CHECKING:
    from store.ledger.copies import Opened

PAGE = 16
"""Payloads in memory at a time: one may be large."""


class Said(Protocol):
    """What the events say: each payload's first event and its tenant, and the events of what was destroyed."""

    references: dict[str, tuple[int, str]]
    tombstones: dict[int, Json]


class Contents:
    """The archive of a ledger, as verification goes through it. `destroyed` and `locked` are known after `problems`."""

    def __init__(self, ledger: "Opened") -> None:
        self._ledger = ledger
        self.destroyed = 0
        self.locked = ""

    def problems(self, cursor: duckdb.DuckDBPyConnection, said: Said) -> Iterator[str]:
        """What is wrong with the archive."""
        try:
            self._ledger.keystore.unlock()
        except (Locked, SettingsError) as error:
            self.locked = str(error)
        missing = dict(said.references)
        cursor.execute(f"SELECT {PAYLOAD}, place FROM payloads")
        while page := cursor.fetchmany(PAGE):
            for *row, at in page:
                payload = Payload(*row)
                seq, tenant = missing.pop(payload.id, (0, payload.tenant))
                if not seq:
                    yield f"payload {payload.id} belongs to no event: an event is missing or changed"
                where = f"event {seq}: " if seq else ""
                if at != place(payload.id):
                    yield f"{where}payload {payload.id} stands in another's place, and is not found"
                if tenant != payload.tenant:
                    yield f"{where}payload {payload.id} is another tenant's"
                yield from (where + problem for problem in self._opened(payload))
        yield from self._missing(cursor, missing, said.tombstones)

    def _opened(self, payload: Payload) -> Iterator[str]:
        if self.locked:
            return
        try:
            self._ledger.archive.unpack(payload)
        except Shredded:
            self.destroyed += 1  # its row goes at the next start
        except BailiwickError as error:
            yield error.what

    def _missing(
        self, cursor: duckdb.DuckDBPyConnection, missing: Mapping[str, tuple[int, str]], signed: Mapping[int, Json]
    ) -> Iterator[str]:
        lists: dict[int, list[str]] = defaultdict(list)
        for id, event in cursor.execute("SELECT id, event FROM tombstones").fetchall():
            lists[event].append(id)
        destroyed: dict[str, int] = {}
        for event in sorted(signed.keys() | lists.keys()):
            if problem := self._doubt(signed.get(event), lists[event]):
                yield f"event {event} {problem}"
            else:
                destroyed.update(dict.fromkeys(lists[event], event))
        for id, (seq, _) in missing.items():
            if destroyed.get(id, 0) > seq:
                self.destroyed += 1
            else:
                yield f"event {seq}: payload {id} is missing"

    def _doubt(self, event: Json, ids: Iterable[str]) -> str:
        """Why this event does not show that these payloads were destroyed; empty if it does."""
        if not event or listed(event["fingerprint"]) != tombstone(ids):
            return "was signed over another list of destroyed payloads than the one that is there"
        if not self._ledger.marks.hold(event):
            return "says that payloads were destroyed, and was not written by who has the keys of this ledger"
        if event["kind"] == Kind.KEYS_SHREDDED and event["step"].rpartition("/")[2] in self._ledger.keystore.records:
            return "says that a data key was destroyed, and it is in the keystore"
        return ""

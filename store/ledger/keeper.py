"""The keeper: what becomes of content after its use. Legal holds, shredding, and the sweep of what is out of date.

Events are never touched: each deed is one more of them, whose signed digest covers the list of payloads that went.
Content that is held is not destroyed by anything in here. What agents remember goes with the content of its owner, by
the same rules, and the same event says how much of it.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from store.keys.data_key import Record
from store.keys.scope import Owner, Scope
from store.keys.site_key import Site
from store.keys.source import Source
from store.ledger import forgetting, needs
from store.ledger.holds import Hold, held, holds
from store.ledger.sealer import NAME_LIMIT, check
from store.records.canonical import Json
from store.records.errors import Denied, IntegrityError, SettingsError
from store.records.event import Draft, Event
from store.records.kinds import Kind

if TYPE_CHECKING:
    from store.ledger.ledger import Ledger

VERSION = "1"
_NONE: tuple[set[str], list[str]] = (set(), [])


@dataclass(frozen=True, slots=True)
class Gone:
    """Content that went: its scope, how many payloads, how many keys are no more, the events that say so, and how many
    of the things that agents remember."""

    scope: Scope
    payloads: int
    keys: int = 0
    events: tuple[int, ...] = ()
    memories: int = 0


class Keeper:
    """Of one ledger that is open for writing. Safe from any thread; deeds come one after the other."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger
        self._keys = ledger.keystore
        self._lock = threading.Lock()

    def holds(self) -> list[Hold]:
        """What is held now, the oldest first."""
        return holds(self._ledger.reader)

    def hold(self, scope: Scope, by: str, reason: str) -> Event:
        """Keep all content in a scope, whatever else is ordered. Raises SettingsError if it is held already."""
        scope.check()
        if not reason.strip():
            raise SettingsError("a hold needs a reason")
        if len(scope.path) > NAME_LIMIT:
            raise SettingsError("an event cannot hold so long a name", str(scope), "hold the tenant's, or the class's")
        with self._lock:
            if any(hold.scope == scope for hold in self.holds()):
                raise SettingsError("it is held already", str(scope))
            return self._log(Kind.KEYS_HELD, scope, by, {"reason": reason})

    def release(self, scope: Scope, by: str) -> Event:
        """End a hold. Raises SettingsError if there is none of exactly this scope."""
        with self._lock:
            if all(hold.scope != scope for hold in self.holds()):
                raise SettingsError("there is no such hold", str(scope), "`bailiwick keys list` shows them")
            return self._log(Kind.KEYS_RELEASED, scope, by, None)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No order about content is followed meanwhile."""
        with self._lock:
            yield

    def shred(self, scope: Scope, by: str) -> Gone:
        """Destroy all content in a scope, beyond recovery, by destroying its keys, and what its owners had remembered.

        Raises Denied if any of it is held or an open run needs it, SettingsError if there is none, IntegrityError if
        the events are not what was signed, or its content is another's, and what the keystore raises.
        """
        scope.check()
        with self._lock:
            self._sound()
            self._refuse_held(scope)
            self._keyed(scope)
            for record in self._keys.covered(scope):
                check(self._tombstone(record, by, ()))  # afterwards it would be too late to find that it cannot be said
            self._ledger.flush()
            looked = self._ledger.last_seq()
            self._refuse_needed(scope)
            told = self._settle()  # what an order that failed has destroyed all the same
            try:
                with self._ledger.still():
                    self._refuse_newer(scope, looked)
                    self._keys.shred(scope, by)
            finally:
                told += self._settle()
            told = [each for each in told if scope.meets(each.scope)]
            if not told:
                raise SettingsError("there is no content", str(scope), "`bailiwick keys list` shows whose there is")
            events = tuple(event for each in told for event in each.events)
            memories = sum(each.memories for each in told)
            return Gone(scope, sum(each.payloads for each in told), len(told), events, memories)

    def finish(self) -> None:
        """Write the tombstones of keys that were destroyed before the last end of the runtime could say so, and destroy
        keys that a backup has brought back although the log says that they are no more."""
        with self._lock:
            if self._ledger.memos:
                self._ledger.memos.finish()
            self._settle()
            self._keys.drop(self._shredded())

    def complete(self, *, lose: bool = False) -> None:
        """Raise IntegrityError if content is under keys that are not there, though nobody destroyed them: keystore and
        ledger are not of one time. With `lose` go on without these keys."""
        with self._lock:
            used = {row[0] for row in self._ledger.reader.rows("SELECT DISTINCT key FROM payloads")}
            unknown = used - self._keys.records.keys() - self._keys.pending.keys() - self._keys.lost
            unknown -= unknown and self._shredded().keys()
            if unknown and not lose:
                what = (
                    f"{len(unknown)} data keys are not in the keystore: it is an older copy, or the ledger a newer one"
                )
                do = "put the newest back, or move it away: then `bailiwick keys init --from BACKUP` goes on without"
                raise IntegrityError(what, str(self._keys.folder), do)
            if unknown:
                self._keys.forgo(unknown)

    def sweep(self, days: Mapping[str, int], by: str, *, dry_run: bool = False) -> list[Gone]:
        """Take away content that is older than its class is kept, in days (0: for ever); what went, or would go.

        A payload is as old as the last event that refers to it. What is held stays, what an open run needs, and the
        reasons in orders. Keys under which nothing is left are destroyed. A crash between the event and the end of its
        memories leaves those to the next sweep.
        """
        with self._lock:
            found, memos = self._old(days), self._old_memos(days)
            counts = forgetting.by_class(memos)
            if not dry_run:
                self._keys.retire({key for keys, _ in found.values() for key in keys})
                self._ledger.flush()
                found = self._old(days)
            gone = [
                Gone(scope, len(found.get(scope, _NONE)[1]), memories=counts.get(scope, 0))
                for scope in sorted(found.keys() | counts.keys(), key=str)
            ]
            if not dry_run:
                gone = [self._swept(each, found.get(each.scope, _NONE)[1], days, by) for each in gone]
                self._drop_empty()
                forgetting.erase(self._ledger.memos, memos)
            return gone

    def rotate_site_key(self, tenant: str, by: str, source: Source | None = None, site: Site | None = None) -> Event:
        """Wrap all data keys under a new site key, and destroy the old one. `tenant` is whose the event is."""
        with self._lock:
            self._keys.rekey(source, site)
            return self._log(Kind.KEYS_ROTATED, Scope(tenant), by, None, step="site")

    def rotate_data_keys(self, tenant: str, by: str) -> Event:
        """Let all new content of a tenant have new keys."""
        with self._lock:
            self._keys.retire([id for id, record in self._keys.records.items() if record.owner.tenant == tenant])
            return self._log(Kind.KEYS_ROTATED, Scope(tenant), by, None, step="data")

    def _swept(self, gone: Gone, ids: list[str], days: Mapping[str, int], by: str) -> Gone:
        payload = {"payloads": len(ids), "memories": gone.memories, "days": days[gone.scope.retention or ""]}
        event = self._log(Kind.PAYLOADS_SWEPT, gone.scope, by, payload, ids)
        return replace(gone, events=(event.seq,))

    def _keyed(self, scope: Scope) -> None:
        """Have a key for everybody in a scope who has something remembered: with their keys it goes, and is told of."""
        with_keys = {record.owner for record in self._keys.covered(scope)}
        for owner in forgetting.owners(self._ledger.memos, scope) - with_keys:
            self._keys.key_for(owner)

    def _sound(self) -> None:
        needs.sound(self._ledger.reader, self._ledger.proofs, self._ledger.last_seq())
        self._owned()

    def _owned(self) -> None:
        pending = {id: record for id, (record, _) in self._keys.pending.items()}
        needs.owned(self._ledger.reader, pending | self._keys.records)

    def _refuse_held(self, scope: Scope) -> None:
        hold = next((each for each in self.holds() if each.scope.meets(scope)), None)
        if hold:
            where = f"event {hold.event} of {hold.since[:10]}, by {hold.by}"
            raise Denied(f"it is held: {hold.scope}", where, "`bailiwick keys release` ends the hold")

    def _refuse_needed(self, scope: Scope) -> None:
        reader = self._ledger.reader
        for run, *owner in needs.owners(reader, needs.needed_runs(reader)):
            if scope.covers(Owner(*owner)):
                raise needs.needed(scope, run)

    def _refuse_newer(self, scope: Scope, looked: int) -> None:
        """Look at what runs have said since event `looked`: looking at all takes too long for nothing to be said."""
        for event in self._ledger.reader.events(looked, limit=2**31):
            if event.run and event.payload and scope.covers(Owner(event.tenant, event.principal, event.retention)):
                raise needs.needed(scope, event.run)

    def _old(self, days: Mapping[str, int]) -> dict[Scope, tuple[set[str], list[str]]]:
        """The keys and ids of what is out of date and may go, by tenant and class."""
        self._sound()
        holds_now, now = self.holds(), datetime.now(UTC).replace(tzinfo=None)
        found: dict[Scope, tuple[set[str], list[str]]] = {}
        for retention, kept in days.items():
            free = {
                record.id: record.owner
                for record in self._keys.records.values()
                if kept > 0 and record.owner.retention == retention and not held(holds_now, record.owner)
            }
            for key, id in needs.old(self._ledger.reader, free, now - timedelta(days=kept)) if free else ():
                keys, ids = found.setdefault(Scope(free[key].tenant, None, retention), (set(), []))
                keys.add(key)
                ids.append(id)
        return found

    def _old_memos(self, days: Mapping[str, int]) -> forgetting.Found:
        """What is remembered, is out of date, and may go."""
        reader, now, holds_now = self._ledger.reader, datetime.now(UTC), self.holds()
        before = {retention: now - timedelta(days=kept) for retention, kept in days.items() if kept > 0}
        needed = set(needs.needed_runs(reader)) if before and self._ledger.memos else set()
        return forgetting.old(
            self._ledger.memos,
            needs.tenants(reader),
            before,
            lambda memo: memo.run in needed or held(holds_now, memo.owner),
        )

    def _settle(self) -> list[Gone]:
        """A tombstone for each key that is destroyed and has none, and its payloads with it; then what its owner had
        remembered goes."""
        pending = dict(self._keys.pending)
        if not pending:
            return []
        self._ledger.flush()  # what was sealed under the old keys is on disk now, and nothing new can be
        self._owned()
        said = self._shredded()
        memos = forgetting.of(self._ledger.memos, {record.owner for record, _ in pending.values()})
        counted = {record.owner for id, (record, _) in pending.items() if id in said}
        left = {owner: len(ids) for owner, ids in memos.items() if owner not in counted}
        told = [self._entomb(record, by, said, left.pop(record.owner, 0)) for record, by in pending.values()]
        forgetting.erase(self._ledger.memos, memos)
        self._keys.settle(pending)
        return told

    def _shredded(self) -> dict[str, int]:
        return needs.shredded(self._ledger.reader, self._ledger.marks)

    def _entomb(self, record: Record, by: str, said: Mapping[str, int], memories: int) -> Gone:
        scope = _scope(record)
        if record.id in said:
            return Gone(scope, 0, 1, (said[record.id],))
        ids = needs.under(self._ledger.reader, record.id)
        payload = {"payloads": len(ids), "memories": memories, "user": scope.user, "class": scope.retention}
        event = self._ledger.append(self._tombstone(record, by, ids), payload, erases=sorted(ids)).wait()
        return Gone(scope, len(ids), 1, (event.seq,), memories)

    def _drop_empty(self) -> None:
        used = {row[0] for row in self._ledger.reader.rows("SELECT DISTINCT key FROM payloads")}
        self._keys.drop([id for id, record in self._keys.records.items() if record.retired and id not in used])

    def _log(
        self, kind: Kind, scope: Scope, by: str, payload: Json, erases: Iterable[str] | None = None, step: str = ""
    ) -> Event:
        """An event of the scope's tenant, on disk when this returns. Names stand in it; free text in its payload."""
        draft = self._draft(kind, scope.tenant, by, step or scope.path, erases)
        return self._ledger.append(draft, payload, erases=sorted(erases or ())).wait()

    def _tombstone(self, record: Record, by: str, ids: Iterable[str]) -> Draft:
        """What says that a key is no more."""
        step = needs.tombstone_step(record.owner, record.id)
        return self._draft(Kind.KEYS_SHREDDED, record.owner.tenant, by, step, ids)

    def _draft(self, kind: Kind, tenant: str, by: str, step: str, erases: Iterable[str] | None) -> Draft:
        return Draft(
            kind=kind,
            tenant=tenant,
            actor=needs.KEEPER,
            actor_version=VERSION,
            principal=by,
            step=step,
            fingerprint="" if erases is None else self._ledger.marks.fingerprint(kind, tenant, step, erases),
        )


def _scope(record: Record) -> Scope:
    return Scope(record.owner.tenant, record.owner.user, record.owner.retention)

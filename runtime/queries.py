"""The queries of the gateway, answered from a ledger on behalf of a caller. Starts neither Ray nor a model.

Nothing beyond the caller's reach is looked at, and a read that is to be on record is noted before it is answered; where
that goes is for whoever made these. The ledger is asked in a thread, so that an event loop which has more to do is not
held up.
"""

import asyncio
from typing import Literal

from runtime.costing import alert_view, cost_views, raised
from runtime.gateway.messages import (
    AlertView,
    CheckpointView,
    ContentScope,
    CostKey,
    CostView,
    DestroyedView,
    EventView,
    HoldView,
    PolicyView,
    ProofView,
    RunView,
    StorageView,
    TableView,
    VerifyView,
)
from runtime.reading import EVERYTHING, Note, Reach, Read, unnoted
from runtime.storing import storage, within
from store.keys.errors import Locked, Shredded
from store.ledger.holds import holds
from store.ledger.ledger import Ledger
from store.ledger.reader import RunRow
from store.ledger.schema import TIME
from store.records.canonical import Json, canonical
from store.records.errors import SettingsError
from store.records.event import Event
from store.records.kinds import Kind
from store.verify import Key


class LedgerQueries:
    """`Queries` over an open ledger, which whoever opened it closes."""

    def __init__(self, ledger: Ledger, reach: Reach = EVERYTHING, note: Note = unnoted) -> None:
        """`reach` is the caller's, and `note` takes what they read; without these the runtime itself asks."""
        self.ledger = ledger
        self._reach = reach
        self._note = note

    async def runs(self, limit: int = 50) -> list[RunView]:
        """As Queries.runs."""
        tenant = self._reach.tenant
        return await asyncio.to_thread(lambda: [self._run(row, False) for row in self.ledger.runs(limit, tenant)])

    async def run(self, run: str, payloads: bool = False) -> RunView:
        """As Queries.run."""
        tenant = self._reach.tenant
        found = await asyncio.to_thread(lambda: self._run(self.ledger.find_run(run, tenant), payloads))
        if payloads:
            await self._note(Read("run", {"run": found.run}, 1))
        return found

    async def events(self, after: int = 0, run: str = "", limit: int = 500, payloads: bool = False) -> list[EventView]:
        """As Queries.events."""
        found = await self._events(after, run, limit, payloads)
        if payloads:
            await self._note(Read("events", {"after": after, "run": run, "limit": limit}, len(found)))
        return found

    async def newer(self, after: int, run: str, limit: int, payloads: bool, wait_s: float) -> list[EventView]:
        """As `events`, for one who has noted a `follow`; if there is none yet, waits up to `wait_s` seconds for one."""
        last = self.ledger.last_seq()  # before the query: what comes while it runs must end the wait
        found = await self._events(after, run, limit, payloads)
        if not found and wait_s > 0 and await self.ledger.beyond(last, wait_s):
            found = await self._events(after, run, limit, payloads)
        return found

    def trail(self, run: str) -> list[EventView]:
        """All events of a run with their payloads, oldest first; for a thread of the caller's own."""
        return [self._event(event, True) for event in self.ledger.run_events(run)]

    async def sql(self, query: str) -> TableView:
        """As Queries.sql; Timeout. One that fails is on record too: an error may quote what it met."""
        from store.ledger.query import select

        rows = 0
        try:
            found = await asyncio.to_thread(select, self.ledger, query, tenant=self._reach.tenant)
            rows = len(found.rows)
        finally:
            await self._note(Read("sql", {"query": query}, rows))
        return TableView(columns=found.columns, rows=found.rows, truncated=found.truncated)

    async def verify(self) -> VerifyView:
        """As Queries.verify."""
        self._reach.check_whole()
        from store.ledger.verify import verify

        found = await asyncio.to_thread(verify, self.ledger)
        return VerifyView(
            ok=found.ok,
            events=found.events,
            problems=found.problems,
            unsigned=found.unsigned,
            fingerprint=Key("", self.ledger.proofs.public).fingerprint,
            destroyed=found.destroyed,
            locked=found.locked,
        )

    async def prove(self, event: int) -> ProofView:
        """As Queries.prove."""
        return await asyncio.to_thread(self._prove, event)

    async def checkpoint(self, since: str | None = None) -> ProofView:
        """As Queries.checkpoint."""
        proofs = self.ledger.proofs
        return await asyncio.to_thread(
            lambda: self._signed(proofs.checkpoint() if since is None else proofs.since(since))
        )

    async def storage(self) -> StorageView:
        """As Queries.storage."""
        return within(self._reach, await storage(self.ledger))

    async def costs(self, by: CostKey, since: str = "", until: str = "") -> list[CostView]:
        """As Queries.costs. Raises SettingsError for a time that is none."""
        return await asyncio.to_thread(self._costs, by, since, until)

    async def alerts(self) -> list[AlertView]:
        """As Queries.alerts."""
        return await asyncio.to_thread(lambda: list(map(alert_view, raised(self.ledger, self._reach.tenant))))

    async def policy(self, digest: str = "") -> PolicyView:
        """As Queries.policy. Policies are the site's, and nobody's content: to read them is not on record."""
        return await asyncio.to_thread(self._policy, digest)

    async def export(self) -> ProofView:
        """As Queries.export."""
        self._reach.check_whole()
        await self._note(Read("export", None, None))
        return await self.checkpoint()

    async def checkpoints(self, after: int = 0, limit: int = 500) -> list[CheckpointView]:
        """As Queries.checkpoints."""
        self._reach.check_whole()
        query = f"SELECT size, strftime(time, {TIME}), note FROM checkpoints WHERE size > ? ORDER BY size LIMIT ?"
        rows = await asyncio.to_thread(self.ledger.reader.rows, query, after, limit)
        return [CheckpointView(size=size, time=time, note=note) for size, time, note in rows]

    async def destroyed(self, after: int = 0, id: str = "", limit: int = 500) -> list[DestroyedView]:
        """As Queries.destroyed."""
        self._reach.check_whole()
        query = "SELECT event, id FROM tombstones WHERE (event, id) > (?, ?) ORDER BY event, id LIMIT ?"
        rows = await asyncio.to_thread(self.ledger.reader.rows, query, after, id, limit)
        return [DestroyedView(event=event, id=each) for event, each in rows]

    async def holds(self) -> list[HoldView]:
        """As Queries.holds."""
        found = await asyncio.to_thread(self._holds)
        if found:
            await self._note(Read("holds", None, len(found)))
        return found

    async def _events(self, after: int, run: str, limit: int, payloads: bool) -> list[EventView]:
        tenant = self._reach.tenant
        return await asyncio.to_thread(
            lambda: [self._event(event, payloads) for event in self.ledger.events(after, run, limit, tenant=tenant)]
        )

    def _holds(self) -> list[HoldView]:
        return [
            HoldView(
                scope=ContentScope(tenant=each.scope.tenant, user=each.scope.user, retention=each.scope.retention),
                by=each.by,
                since=each.since,
                event=each.event,
                reason=str(self._payload(each.payload).get("reason", "")),
            )
            for each in holds(self.ledger.reader)
            if self._reach.covers(each.scope.tenant)
        ]

    def _policy(self, digest: str) -> PolicyView:
        events = self.ledger.events(limit=2**31, kinds=[Kind.POLICY_KEPT, Kind.POLICY_CHANGED])
        newest = next((each.policy_digest for each in reversed(events) if each.kind == Kind.POLICY_CHANGED), "")
        wanted = digest or newest
        kept = [each for each in events if each.kind == Kind.POLICY_KEPT and each.policy_digest.startswith(wanted)]
        if not wanted or len(kept) != 1:
            what = (
                "the ledger has several such policies" if wanted and kept else "the ledger does not have these policies"
            )
            raise SettingsError(what, digest[:64], "give more of the digest" if kept else "")
        payload = self.ledger.payload(kept[0].payload)
        found = kept[0].policy_digest
        return PolicyView(**payload, digest=found, event=kept[0].seq, in_force=found == newest)

    def _costs(self, by: CostKey, since: str, until: str) -> list[CostView]:
        views = cost_views(self.ledger, self._reach, by, since, until)
        if by != "model":
            return views
        loads = [self._payload(event.payload) for event in self.ledger.events(kinds=[Kind.MODEL_LOADED], limit=2**31)]
        names = {str(each.get("sha256", "")): str(each.get("name", "")) for each in loads}
        return [each.model_copy(update={"name": names.get(each.key, "")}) for each in views]

    def _prove(self, event: int) -> ProofView:
        tenant = self._reach.tenant
        if tenant is not None and [e.seq for e in self.ledger.events(event - 1, limit=1, tenant=tenant)] != [event]:
            raise SettingsError(f"there is no event {event} of yours", do="`bailiwick audit tail` shows them")
        return self._signed(self.ledger.proofs.inclusion(event))

    def _signed(self, text: str) -> ProofView:
        key = self.ledger.proofs.key
        return ProofView(text=text, key=str(key), fingerprint=key.fingerprint)

    def _event(self, event: Event, payloads: bool) -> EventView:
        value, gone = None, ""
        if payloads and event.payload:
            try:
                value = self.ledger.payload(event.payload)
            except Shredded as error:
                gone = str(error)
        return EventView(event=event.json(), hash=event.hash, payload=value, gone=gone)

    def _run(self, row: RunRow, payloads: bool) -> RunView:
        shown = payloads or self._reach.owns(row.tenant, row.principal)
        submission = self._payload(row.submission)
        outcome = self._payload(row.outcome)
        return RunView.model_validate(
            {
                "run": row.run,
                "status": self._status(row),
                "queue": row.queue,
                "workflow": row.workflow or str(submission.get("workflow", "")),
                "principal": row.principal,
                "task": str(submission.get("task", "")) if shown else "",
                "forked": _origin(submission.get("forked")),
                "resolved_by": _resolver(outcome),
                "outcome": (outcome.get("text") or _text(outcome.get("value"))) if shown else "",
                "withheld": not shown,
                "error": _kind(outcome.get("error")),
                "started": row.started,
                "ended": row.ended,
                "events": row.events,
                "model_calls": row.model_calls,
                "tokens": row.tokens,
                "device_ms": row.device_ms,
                "cost_micros": row.cost_micros,
            }
        )

    def _status(self, row: RunRow) -> str:
        """A run of an earlier epoch, which no event of this one tells of, is driven by nobody, and no queue has it."""
        kept = row.status not in ("queued", "running") or row.epoch == self.ledger.epoch
        return row.status if kept else "interrupted"

    def _payload(self, id: str) -> dict[str, Json]:
        try:
            value = self.ledger.payload(id) if id else {}
        except (Shredded, Locked):
            value = {}  # the rest of what is known of the run is in its events
        return value if isinstance(value, dict) else {}


def _origin(forked: Json) -> str:
    """Where a run was forked from; the step is told by forks of today, the event by all."""
    if not isinstance(forked, dict):
        return ""
    step = f"step {forked['step']}, " if "step" in forked else ""
    return f"from run {forked['run']} before {step}event {forked['before']}"


def _resolver(outcome: dict[str, Json]) -> Literal["", "model", "rule"]:
    by = outcome.get("resolved_by")
    return by if by in ("model", "rule") else ""


def _kind(error: Json) -> str:
    return str(error.get("kind", "")) if isinstance(error, dict) else ""


def _text(value: Json) -> str:
    """An outcome as one text: workflows may end in any JSON value."""
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical(value).decode()

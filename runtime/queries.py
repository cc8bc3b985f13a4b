"""The queries of the gateway, answered from a ledger. Read-only: starts neither Ray nor a model, and writes nothing.

The ledger is asked in a thread, so that an event loop which has more to do is not held up.
"""

import asyncio
from typing import Literal

from runtime.gateway.messages import EventView, ProofView, RunView, StorageView, TableView, VerifyView
from runtime.storing import storage
from store.keys.errors import Locked, Shredded
from store.ledger.ledger import Ledger
from store.ledger.reader import RunRow
from store.records.canonical import Json, canonical
from store.records.event import Event
from store.verify import Key


class LedgerQueries:
    """`Queries` over an open ledger, which whoever opened it closes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def runs(self, limit: int = 50) -> list[RunView]:
        """The newest runs first."""
        return await asyncio.to_thread(lambda: [self._run(row) for row in self._ledger.runs(limit)])

    async def run(self, run: str) -> RunView:
        """One run, by its id or an unambiguous beginning of it. Raises SettingsError if there is none."""
        return await asyncio.to_thread(lambda: self._run(self._ledger.find_run(run)))

    async def events(self, after: int = 0, run: str = "", limit: int = 500, payloads: bool = False) -> list[EventView]:
        """Up to `limit` events with a sequence number above `after`, in order."""
        return await asyncio.to_thread(
            lambda: [self._event(event, payloads) for event in self._ledger.events(after, run, limit)]
        )

    def trail(self, run: str) -> list[EventView]:
        """All events of a run with their payloads, oldest first; for a thread of the caller's own."""
        return [self._event(event, True) for event in self._ledger.run_events(run)]

    async def sql(self, query: str) -> TableView:
        """The rows of one SELECT. Raises SettingsError for anything else, Timeout."""
        from store.ledger.query import select

        found = await asyncio.to_thread(select, self._ledger, query)
        return TableView(columns=found.columns, rows=found.rows, truncated=found.truncated)

    async def verify(self) -> VerifyView:
        """Recompute everything and compare."""
        from store.ledger.verify import verify

        found = await asyncio.to_thread(verify, self._ledger)
        return VerifyView(
            ok=found.ok,
            events=found.events,
            problems=found.problems,
            unsigned=found.unsigned,
            fingerprint=Key("", self._ledger.proofs.public).fingerprint,
            destroyed=found.destroyed,
            locked=found.locked,
        )

    async def prove(self, event: int) -> ProofView:
        """The proof that an event is in the ledger. Raises SettingsError if there is none of this number."""
        return await asyncio.to_thread(lambda: self._signed(self._ledger.proofs.inclusion(event)))

    async def checkpoint(self, since: str | None = None) -> ProofView:
        """As Queries.checkpoint."""
        proofs = self._ledger.proofs
        return await asyncio.to_thread(
            lambda: self._signed(proofs.checkpoint() if since is None else proofs.since(since))
        )

    async def storage(self) -> StorageView:
        """What takes space, and how fast it grows."""
        return await storage(self._ledger)

    def _signed(self, text: str) -> ProofView:
        key = self._ledger.proofs.key
        return ProofView(text=text, key=str(key), fingerprint=key.fingerprint)

    def _event(self, event: Event, payloads: bool) -> EventView:
        value, gone = None, ""
        if payloads and event.payload:
            try:
                value = self._ledger.payload(event.payload)
            except Shredded as error:
                gone = str(error)
        return EventView(event=event.json(), hash=event.hash, payload=value, gone=gone)

    def _run(self, row: RunRow) -> RunView:
        submission = self._payload(row.submission)
        outcome = self._payload(row.outcome)
        return RunView.model_validate(
            {
                "run": row.run,
                "status": self._status(row),
                "queue": row.queue,
                "workflow": row.workflow or str(submission.get("workflow", "")),
                "principal": row.principal,
                "task": str(submission.get("task", "")),
                "resolved_by": _resolver(outcome),
                "outcome": outcome.get("text") or _text(outcome.get("value")),
                "error": _kind(outcome.get("error")),
                "started": row.started,
                "ended": row.ended,
                "events": row.events,
                "model_calls": row.model_calls,
                "tokens": row.tokens,
                "device_ms": row.device_ms,
            }
        )

    def _status(self, row: RunRow) -> str:
        """A run of an earlier epoch, which no event of this one tells of, is driven by nobody, and no queue has it."""
        kept = row.status not in ("queued", "running") or row.epoch == self._ledger.epoch
        return row.status if kept else "interrupted"

    def _payload(self, id: str) -> dict[str, Json]:
        try:
            value = self._ledger.payload(id) if id else {}
        except (Shredded, Locked):
            value = {}  # the rest of what is known of the run is in its events
        return value if isinstance(value, dict) else {}


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

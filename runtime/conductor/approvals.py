"""Where a suspended call waits for a person. The request and the answer are events; only the waiting is here."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from runtime.gate.recorder import Recorder
from store.records.errors import SettingsError
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind

EXPIRED = "expiry"
"""The name that stands for the approver when nobody answered in time."""


@dataclass
class Waiting:
    """One request and the answer to come, an event. `request` is the number of the request's own event."""

    draft: Draft
    view: dict[str, Any]
    since: str
    answer: asyncio.Future[Event]
    request: int = 0


@dataclass
class Approvals:
    """All requests that wait. `expiry_s` is how long one waits before it becomes a no."""

    recorder: Recorder
    expiry_s: float
    waiting: dict[str, Waiting] = field(default_factory=dict)

    async def wait(self, draft: Draft, view: dict[str, Any], request: Event | None) -> Event:
        """Wait for the answer, an event that says who gave it; an expired request is a no, recorded like any other.

        `draft` is the request's; the answer's event says the same of run, step, tool, policy and labels. It goes on
        record once the answer can be taken, so that whoever sees it can answer it; unless that was done in an earlier
        life: `request` then is its event, and expires when it would have expired then.
        """
        now = datetime.now(UTC)
        asked = datetime.fromisoformat(request.time) if request else now
        approval = view["approval"]
        entry = Waiting(draft, view, asked.isoformat(), asyncio.get_running_loop().create_future())
        self.waiting[approval] = entry
        try:
            await self._announce(entry, request)
            async with asyncio.timeout(self.expiry_s - (now - asked).total_seconds()):
                return await asyncio.shield(entry.answer)
        except TimeoutError:
            if not entry.answer.done():
                await self._take(entry, EXPIRED, False, "nobody answered in time")
            return entry.answer.result()
        finally:
            self.waiting.pop(approval, None)

    async def answer(self, approval: str, approver: User, yes: bool, meaning: str) -> None:
        """Take a person's answer; returns once it is on disk. Raises SettingsError if nothing waits under it."""
        entry = self.waiting.get(approval)
        if entry is None or entry.answer.done() or entry.draft.tenant != approver.tenant:
            raise SettingsError("no such approval is waiting", approval, "see `bailiwick approvals list`")
        await self._take(entry, approver.name, yes, meaning)

    async def _announce(self, entry: Waiting, request: Event | None) -> None:
        """Put the request on disk, once."""
        if request is not None:
            entry.request = request.seq
            return
        pending = self.recorder.append(entry.draft, entry.view)
        entry.request = pending.event.seq
        await pending.durable()

    async def _take(self, entry: Waiting, approver: str, yes: bool, meaning: str) -> None:
        """Append the one answer and hand it to the run in one go, so that no second answer comes between.

        The run may go on before this is on disk: no effect leaves before all earlier events of its run are there.
        """
        draft = replace(
            entry.draft,
            kind=Kind.APPROVAL_ANSWERED,
            cause=entry.request,
            actor="gateway",
            principal=approver,
            decision="yes" if yes else "no",
        )
        payload = {"approval": entry.view["approval"], "meaning": meaning}
        pending = self.recorder.append(draft, payload)
        entry.answer.set_result(pending.event)
        await pending.durable()

"""Where a suspended call waits for people. Request, grants and answers are events; only the waiting is here."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from runtime.gate.ages import Age, Ages
from runtime.gate.build import Gatehouse
from runtime.gate.call import Approval
from runtime.gate.errors import Outdated, Suspended
from runtime.gate.recorder import Pending, Recorder
from runtime.notices import Notice
from store.records.canonical import Json
from store.records.errors import Denied, SettingsError
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind

EXPIRED = "expiry"
"""The name that stands for the approver when nobody answered in time."""

DIGEST_CHARS = 8
"""How much of the digest of what they agree to an approver must say."""

LOOK_S = 60.0
"""A request that waits looks at the clock at least so often, for somebody may set it, and a machine may sleep."""

Past = Sequence[tuple[Event, Json]]


@dataclass
class Waiting:
    """One request, the yeses to it, and the end to come: the event of a no, or None once there are enough."""

    suspended: Suspended
    draft: Draft
    view: dict[str, Any]
    request: Event
    age: Age
    expiry_s: float
    yes: list[Approval] = field(default_factory=list)
    end: asyncio.Future[Event | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def left_s(self) -> float:
        """The seconds until it becomes a no."""
        return max(0.0, self.expiry_s - self.age())

    @property
    def expires(self) -> datetime:
        """When it becomes a no, if nobody sets the clock."""
        return datetime.fromisoformat(self.request.time) + timedelta(seconds=self.expiry_s)

    @property
    def requester(self) -> User:
        """Who asked for the call."""
        return self.suspended.call.principal.user

    @property
    def notice(self) -> Notice:
        """What people are told of it."""
        call, expires = self.suspended.call, self.expires.isoformat()
        return Notice("approval", self.view["approval"], call.run, call.workflow, call.record.name, expires)

    def concerns(self, user: User) -> bool:
        """Whether it is listed for a user: in their tenant, for approvers and for who asked."""
        mine = user.name == self.requester.name
        return user.tenant == self.requester.tenant and (mine or "approver" in user.roles)


def _nobody(_: Waiting) -> None:
    pass


@dataclass
class Approvals:
    """All requests that wait. `expiry_s` is how long one waits before it becomes a no; `tell` is told of each that
    has to wait for a person, and returns at once."""

    recorder: Recorder
    gate: Gatehouse
    ages: Ages
    expiry_s: float
    tell: Callable[[Waiting], None] = _nobody
    waiting: dict[str, Waiting] = field(default_factory=dict)

    async def ask(
        self, suspended: Suspended, draft: Draft, view: dict[str, Any], request: Event | None, past: Past
    ) -> tuple[Approval, ...]:
        """The yeses of as many people as policy asks for. Raises Denied on the first no, or once the request expires;
        Outdated if other policies are in force before there are enough.

        `draft` is the request's; each answer's event says the same of run, step, tool, policy and labels. `request` is
        its event of an earlier life, whose age counts, and `past` are the answers that were given then.
        """
        about = [event for event, _ in past if event.fingerprint == suspended.binding]
        for event in about:
            if event.kind == Kind.APPROVAL_ANSWERED and event.decision != "yes":
                raise _denied(event)
        pending = None
        if request is None:
            pending = self.recorder.append(draft, view)
            request = pending.event
        entry = Waiting(suspended, draft, view, request, self.ages.of(request), self.expiry_s)
        entry.yes = [each for each in map(_approval, about) if self._stands(each, entry)]
        if entry.left_s > 0:
            self._use_grants(entry)
        if not self._enough(entry) and (no := await self._wait(entry, pending)) is not None:
            raise _denied(no)
        return tuple(entry.yes)

    async def answer(self, approval: str, approver: User, yes: bool, meaning: str, digest: str) -> None:
        """Take a person's answer; returns once it is on disk. `digest` is how the binding of what they saw begins.

        Raises SettingsError if nothing waits under this id, the digest does not fit, or they have said yes before;
        Denied for the yes of who asked for it, where policy wants another's.
        """
        entry = self.waiting.get(approval)
        if entry is None or entry.end.done() or entry.requester.tenant != approver.tenant:
            raise SettingsError("no such approval is waiting", approval, "see `bailiwick approvals list`")
        if yes:
            self._check(entry, approver, digest)
        await self._take(entry, approver.name, yes, meaning)

    def outdate(self) -> None:
        """Let nothing wait that was asked for by policies which are not in force any more: see Outdated."""
        for entry in list(self.waiting.values()):
            if not entry.end.done():
                entry.end.set_exception(Outdated("other policies are in force now", entry.view["approval"]))

    def may_answer(self, entry: Waiting, user: User) -> bool:
        """Whether a user's yes to a request would count."""
        asked, terms = entry.requester, entry.suspended.call.terms
        if user.tenant != asked.tenant or "approver" not in user.roles:
            return False
        return self.gate.people.may(Approval(entry.suspended.binding, user.name), asked, terms)

    def agreed(self, entry: Waiting) -> frozenset[str]:
        """The names of those whose yes to a request counts now."""
        return self.gate.people.counted(entry.yes, entry.requester, entry.suspended.call.terms)

    def _check(self, entry: Waiting, approver: User, digest: str) -> None:
        binding, tool = entry.suspended.binding, entry.suspended.call.record.name
        if len(digest) < DIGEST_CHARS or not binding.startswith(digest):
            what = f"that is not the digest of what waits: now it is {tool} with {binding[:DIGEST_CHARS]}"
            raise SettingsError(what, entry.view["approval"], f"look at it: `approvals show {entry.view['approval']}`")
        if not self.may_answer(entry, approver):
            own = approver.name == entry.requester.name
            why = "asked for this, and policy wants another's word" if own else "may not approve this"
            raise Denied(f"{approver.name} {why}", entry.view["approval"], "ask another approver")
        if any(each.approver == approver.name for each in entry.yes):
            raise SettingsError(f"{approver.name} has said yes already", entry.view["approval"], "it takes others, too")

    async def _wait(self, entry: Waiting, pending: Pending | None) -> Event | None:
        """The end of a request that people must answer, which can be answered before anybody can see it on record."""
        approval = entry.view["approval"]
        self.waiting[approval] = entry
        try:
            if pending is not None:
                await pending.durable()
            self.tell(entry)
            while not entry.end.done() and (left := entry.left_s) > 0:
                await asyncio.wait([entry.end], timeout=min(left, LOOK_S))
            if not entry.end.done():
                await self._take(entry, EXPIRED, False, "nobody answered in time")
            return entry.end.result()
        finally:
            self.waiting.pop(approval, None)

    def _use_grants(self, entry: Waiting) -> None:
        """Count grants that cover the call, one for each approver, until there are yeses enough."""
        call, binding = entry.suspended.call, entry.suspended.binding
        for standing in self.gate.grants.covering(call):
            approval = Approval(binding, standing.grant.author, grant=standing.id)
            named = any(each.approver == approval.approver for each in entry.yes)
            if self._enough(entry) or named or not self._counts(approval, entry):
                continue
            draft = self._answered(entry, Kind.GRANT_USED, approval.approver, standing.id)
            used = self.recorder.append(draft, {"approval": entry.view["approval"], "grant": standing.id}).event
            self.gate.grants.replay(used, None)
            entry.yes.append(replace(approval, answer=used.seq))

    def _stands(self, approval: Approval, entry: Waiting) -> bool:
        """Whether a yes of an earlier life still is one."""
        held = not approval.grant or self.gate.grants.stands(approval, entry.suspended.call)
        return held and self._counts(approval, entry)

    def _counts(self, approval: Approval, entry: Waiting) -> bool:
        return self.gate.people.may(approval, entry.requester, entry.suspended.call.terms)

    def _enough(self, entry: Waiting) -> bool:
        return len(self.agreed(entry)) >= entry.suspended.call.terms.approvers

    def _answered(self, entry: Waiting, kind: Kind, who: str, decision: str) -> Draft:
        return replace(
            entry.draft, kind=kind, cause=entry.request.seq, actor="gateway", principal=who, decision=decision
        )

    async def _take(self, entry: Waiting, approver: str, yes: bool, meaning: str) -> None:
        """Append one answer and count it in one go, so that no other answer comes between.

        The run may go on before this is on disk: no effect leaves before all earlier events of its run are there.
        """
        draft = self._answered(entry, Kind.APPROVAL_ANSWERED, approver, "yes" if yes else "no")
        pending = self.recorder.append(draft, {"approval": entry.view["approval"], "meaning": meaning})
        if not yes:
            entry.end.set_result(pending.event)
        else:
            entry.yes.append(Approval(entry.suspended.binding, approver, pending.event.seq))
            if self._enough(entry):
                entry.end.set_result(None)
        await pending.durable()


def _approval(event: Event) -> Approval:
    """The yes that an event puts on record."""
    grant = event.decision if event.kind == Kind.GRANT_USED else ""
    return Approval(event.fingerprint, event.principal, event.seq, grant)


def _denied(event: Event) -> Denied:
    who = "nobody answered in time:" if event.principal == EXPIRED else f"{event.principal} denied"
    return Denied(f"{who} {event.tool}", f"event {event.seq}")

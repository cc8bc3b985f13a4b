"""The policies of one core: those that it starts with, those that somebody proposes, and the change to these.

Each version is kept in the ledger under its digest before it decides anything, so that an old decision can be
explained. New policies come into force as a whole, once they load, their own tests pass, and somebody has agreed who
may; until then, and if not, those in force stay. What is agreed to is the text that was proposed, never what the files
say by then.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.conductor.approvals import DIGEST_CHARS
from runtime.conductor.scope import CORE_VERSION
from runtime.gate.in_force import InForce
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.gate.policy_files import PolicyFile, policy_files, sheet_files
from runtime.gate.policy_trials import check_trials, trials
from runtime.gateway.messages import PolicyChangeView
from store.ledger.ledger import Ledger, Pending
from store.ledger.reader import EVERYTHING
from store.records.canonical import Json, digest
from store.records.errors import Denied, SettingsError
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind
from tools.record import ToolRecord

STARTED, APPROVED = "started", "approved"
"""How policies came into force: the runtime was started with them, or somebody agreed while it was up."""
RETENTION = "policies"
"""The retention class of their texts."""


@dataclass(frozen=True)
class Proposal:
    """Policies that somebody wants to have in force: loaded, and their tests have passed. `at` is a monotonic time."""

    policy: Policy
    by: User
    event: int
    at: float


class Policing:
    """The policies of one core. `outdate` is called when others have come into force."""

    def __init__(
        self,
        ledger: Ledger,
        source: str,
        records: Mapping[str, ToolRecord],
        inventory: Inventory,
        *,
        again: bool,
        expiry_s: float,
    ) -> None:
        """With `again`, a core of this runtime was up before: those in force then still are, whatever the files say.

        Raises SettingsError if the policies of `source` do not load or fail their tests.
        """
        self._ledger, self._source, self._inventory = ledger, source, inventory
        self._records = tuple(records.values())
        self._expiry_s = expiry_s
        before = _newest(ledger)
        files = kept_files(ledger, before.policy_digest) if again and before else None
        self.judge = InForce(self._loaded() if files is None else Policy.of(files, self._records, inventory))
        self.outdate: Callable[[], None] = lambda: None
        self.proposal: Proposal | None = None

    def start(self, starter: User, tenant: str) -> None:
        """Keep the policies that the core starts with, and say so if they are others than were in force before: whoever
        starts a runtime answers for what it starts with."""
        policy, before = self.judge.policy, _newest(self._ledger)
        self._keep(policy, starter, tenant)
        if before is None or before.policy_digest != policy.digest:
            self._changed(policy, before, starter, starter, STARTED, tenant, 0)

    async def propose(self, by: User) -> PolicyChangeView:
        """Read the site's policies anew and have them wait for somebody's word; an older proposal is void.

        Raises Denied, SettingsError if they do not load, fail a test, or are in force.
        """
        if "admin" not in by.roles:
            raise Denied(f"{by.name} may not propose policies", do="ask someone with the role admin")
        try:
            policy = await asyncio.to_thread(self._loaded)
        except SettingsError as error:
            raise SettingsError(f"the policies in force stay: {error.what}", error.where, error.do) from None
        if policy.digest == self.judge.digest:
            raise SettingsError("these policies are in force", self._source, "change them first")
        self._keep(policy, by, by.tenant)
        pending = self._note(Kind.POLICY_PROPOSED, {"in_force": self.judge.digest}, policy, by)
        await pending.durable()
        self.proposal = Proposal(policy, by, pending.event.seq, time.monotonic())
        return self._view(self.proposal)

    def proposed(self) -> list[PolicyChangeView]:
        """What waits for somebody's word, if anything does."""
        waiting = self._waiting()
        return [] if waiting is None else [self._view(waiting)]

    async def approve(self, digest: str, meaning: str, by: User, sole: str) -> PolicyChangeView:
        """Let the proposed policies be in force. `digest` is how theirs begins; `sole` the only user there is, if so.

        Raises SettingsError if nothing, or something else, is proposed; Denied for who may not agree, or proposed it.
        """
        proposal = self._waiting()
        if proposal is None:
            raise SettingsError("no policies are proposed", do="propose them: `bailiwick policy reload`")
        if not {"approver", "admin"} & set(by.roles):
            raise Denied(f"{by.name} may not approve policies", do="ask someone with the role approver or admin")
        if by.name == proposal.by.name and by.name != sole:
            raise Denied(f"{by.name} proposed these policies", do="ask another approver or admin")
        policy = proposal.policy
        if len(digest) < DIGEST_CHARS or not policy.digest.startswith(digest):
            what = f"that is not the digest of what is proposed, which is {policy.digest[:DIGEST_CHARS]}"
            raise SettingsError(what, do="look at it: `bailiwick policy proposed`")
        # From here on every decision is by the new ones; no effect leaves before this event is on disk.
        pending = self._changed(
            policy, _newest(self._ledger), proposal.by, by, APPROVED, by.tenant, proposal.event, meaning
        )
        view = self._view(proposal)
        self.judge.exchange(policy)
        self.proposal = None
        self.outdate()
        await pending.durable()
        return view

    def _loaded(self) -> Policy:
        """The site's policies as their files are now. Raises SettingsError if they do not load or fail their tests."""
        files = policy_files(self._source)
        policy = Policy.of(files, self._records, self._inventory)
        check_trials(trials(files, sheet_files(self._source), self._records, self._inventory))
        return policy

    def _waiting(self) -> Proposal | None:
        """The proposal, unless nobody agreed in time."""
        if self.proposal is not None and time.monotonic() - self.proposal.at >= self._expiry_s:
            self.proposal = None
        return self.proposal

    def _view(self, proposal: Proposal) -> PolicyChangeView:
        left = self._expiry_s - (time.monotonic() - proposal.at)
        return PolicyChangeView(
            digest=proposal.policy.digest,
            in_force=self.judge.digest,
            by=proposal.by.name,
            event=proposal.event,
            left_s=round(left, 1),
        )

    def _keep(self, policy: Policy, by: User, tenant: str) -> None:
        """Put a version on record under its digest, unless it is there: its text, and the tools and objects that it was
        read with."""
        kept = self._ledger.events(limit=EVERYTHING, kinds=[Kind.POLICY_KEPT])
        if any(event.policy_digest == policy.digest for event in kept):
            return
        payload: Json = {
            "source": self._source,
            "files": [[Path(file.path).name, file.text] for file in policy.files],
            "records": [record.model_dump(mode="json") for record in policy.records],
            "inventory": {kind: list(names) for kind, names in policy.inventory.objects.items()},
        }
        # Nobody's own, and of no class that is swept: a core that comes back needs it, whoever is forgotten meanwhile.
        self._note(Kind.POLICY_KEPT, payload, policy, by, tenant=tenant, principal="", retention=RETENTION)

    def _changed(
        self,
        policy: Policy,
        before: Event | None,
        asked: User,
        approver: User,
        how: str,
        tenant: str,
        cause: int,
        meaning: str = "",
    ) -> Pending:
        payload: Json = {
            "before": before.policy_digest if before else "",
            "asked_by": asked.name,
            "approved_by": approver.name,
            "one_person": asked.name == approver.name,
            "meaning": meaning,
        }
        return self._note(Kind.POLICY_CHANGED, payload, policy, approver, tenant=tenant, cause=cause, decision=how)

    def _note(self, kind: Kind, payload: Json, policy: Policy, by: User, **facts: Any) -> Pending:
        said = {"principal": by.name, "tenant": by.tenant, "unit": by.unit, **facts}
        text = digest([[Path(file.path).name, file.text] for file in policy.files])
        draft = Draft(
            kind=kind,
            actor="core",
            actor_version=CORE_VERSION,
            policy_digest=policy.digest,
            fingerprint=text,
            **said,
        )
        return self._ledger.append(draft, payload)


def kept_files(ledger: Ledger, digest: str) -> Sequence[PolicyFile]:
    """The texts of a version that was kept. Raises SettingsError if it was not, Shredded if its text is no more."""
    found = [
        event for event in ledger.events(limit=EVERYTHING, kinds=[Kind.POLICY_KEPT]) if event.policy_digest == digest
    ]
    if not found:
        raise SettingsError("the ledger does not have these policies", digest[:12])
    return [PolicyFile(name, text) for name, text in ledger.payload(found[-1].payload)["files"]]


def _newest(ledger: Ledger) -> Event | None:
    """The event by which the policies in force came to be so."""
    found = ledger.events(limit=EVERYTHING, kinds=[Kind.POLICY_CHANGED])
    return found[-1] if found else None

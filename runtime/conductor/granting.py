"""What approvers do to standing grants: see one as it would be saved, save it, list, revoke. Each change is an event.

What a grant says is fixed when it is shown: the versions of tool and policy are in its digest, and whoever saves it
says how that begins. Nothing here lets a call through.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from runtime.conductor.approvals import DIGEST_CHARS
from runtime.conductor.scope import CORE_VERSION
from runtime.gate.build import Gatehouse
from runtime.gate.grants import KINDS, Grant, Standing, deciding
from runtime.gate.recorder import Recorder
from runtime.gateway.messages import GrantSpec, GrantView
from store.keys.errors import Shredded
from store.ledger.ledger import Ledger
from store.ledger.reader import EVERYTHING
from store.records.canonical import Json
from store.records.errors import Denied, SettingsError
from store.records.event import Draft
from store.records.identity import User
from store.records.kinds import Kind
from tools.record import ToolRecord
from tools.schema import Checker

LONGEST = timedelta(days=366)


@dataclass
class Granting:
    """The grants of one core, which begin as the ledger has them."""

    ledger: Ledger
    recorder: Recorder
    gate: Gatehouse
    records: Mapping[str, ToolRecord]

    def __post_init__(self) -> None:
        for event in self.ledger.events(limit=EVERYTHING, kinds=KINDS):
            try:
                payload = self.ledger.payload(event.payload) if event.kind == Kind.GRANT_ADDED else None
            except Shredded:
                continue  # nobody knows any more what it allowed, so it allows nothing
            self.gate.grants.replay(event, payload)

    def views(self, by: User) -> list[GrantView]:
        """The grants of a user's tenant. Raises Denied."""
        if not {"approver", "auditor", "admin"} & set(by.roles):
            raise Denied(f"{by.name} may not see grants", do="ask someone with the role approver")
        return [_view(each) for each in self.gate.grants.all.values() if each.grant.tenant == by.tenant]

    def propose(self, spec: GrantSpec, by: User) -> GrantView:
        """The grant as it would be saved. Raises SettingsError if it could not work, or is not narrow; Denied."""
        grant = self._grant(spec, by)
        return GrantView(digest=grant.digest, grant=grant.json())

    async def add(self, spec: GrantSpec, digest: str, by: User) -> GrantView:
        """Save a grant; returns once it is on disk. Raises as `propose`, and SettingsError if `digest` is not how that
        of the grant begins."""
        grant = self._grant(spec, by)
        if len(digest) < DIGEST_CHARS or not grant.digest.startswith(digest):
            what = f"that is not the digest of this grant, which is now {grant.digest[:DIGEST_CHARS]}"
            raise SettingsError(what, grant.tool, "look at it once more: tool or policy may have changed")
        id = f"g{uuid.uuid4().hex[:10]}"
        await self._told(Kind.GRANT_ADDED, id, by, {"grant": grant.json(), "digest": grant.digest})
        return _view(self.gate.grants.all[id])

    async def revoke(self, id: str, reason: str, by: User) -> None:
        """Let a grant do nothing from now on. Raises SettingsError if none stands under this id, Denied."""
        found = self.gate.grants.all.get(id)
        if found is None or found.grant.tenant != by.tenant or found.revoked:
            raise SettingsError("no grant stands under this id", id, "see `bailiwick grants list`")
        if by.name != found.grant.author and not {"approver", "admin"} & set(by.roles):
            raise Denied(f"{by.name} may not revoke this grant", id, "ask an approver")
        await self._told(Kind.GRANT_REVOKED, id, by, {"reason": reason})

    async def _told(self, kind: Kind, id: str, by: User, payload: Json) -> None:
        """Put a change on record, and have it hold from then on."""
        draft = Draft(
            kind=kind,
            tenant=by.tenant,
            unit=by.unit,
            actor="gateway",
            actor_version=CORE_VERSION,
            principal=by.name,
            decision=id,
            policy_digest=self.gate.policy.digest,
        )
        pending = self.recorder.append(draft, payload)
        if kind == Kind.GRANT_REVOKED:
            self.gate.grants.replay(pending.event, payload)  # what is taken back is so at once
        await pending.durable()
        if kind == Kind.GRANT_ADDED:
            self.gate.grants.replay(pending.event, payload)

    def _grant(self, spec: GrantSpec, by: User) -> Grant:
        if "approver" not in by.roles:
            raise Denied(f"{by.name} may not give grants", do="ask someone with the role approver")
        record = self.records.get(spec.tool)
        if record is None or record.local_read:
            what = "a local read needs nobody's yes" if record else "no such tool"
            raise SettingsError(what, spec.tool, "see `bailiwick tools list`")
        if record.irreversible and not spec.irreversible:
            what = "what this tool does cannot be undone, and the grant does not say that it covers that"
            raise SettingsError(what, spec.tool, "leave it to a person each time, or add --irreversible")
        _check_arguments(spec, record)
        return Grant(
            author=by.name,
            tenant=by.tenant,
            tool=spec.tool,
            tool_digest=record.digest,
            policy_digest=self.gate.policy.digest,
            arguments=spec.arguments,
            user=spec.user,
            agent=spec.agent,
            workflow=spec.workflow,
            until=_until(spec.until).isoformat(),
            times=spec.times,
            irreversible=spec.irreversible,
        )


def _check_arguments(spec: GrantSpec, record: ToolRecord) -> None:
    """Raise SettingsError for a value that no call could have, and for an argument left open that decides what is
    touched."""
    properties = record.input_schema.get("properties", {})
    for name, values in spec.arguments.items():
        if name not in properties or name == record.key_argument or not values:
            raise SettingsError(f"the tool takes no argument {name!r} from a caller", record.name)
        checker = Checker({"$defs": record.input_schema.get("$defs", {}), "type": "object", "properties": properties})
        for value in values:
            if problem := checker.problem({name: value}):
                raise SettingsError(f"no call has this value: {problem}", record.name, "write text in quotes: '\"10\"'")
    required: Iterable[str] = set(record.input_schema.get("required", ())) - {record.key_argument}
    if left := sorted(deciding(record, dict.fromkeys(required)) - spec.arguments.keys()):
        what = f"the grant gives no value for {', '.join(left)}, and that decides what is touched"
        raise SettingsError(what, record.name, "name the values it may have: --arguments NAME=VALUE")


def _until(text: str) -> datetime:
    """When a grant ends: a time, or the beginning of a date, UTC if it does not say. Raises SettingsError."""
    try:
        day = len(text) == len("2026-01-31")
        parsed = datetime.combine(date.fromisoformat(text), time()) if day else datetime.fromisoformat(text)
        until = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SettingsError("the end of a grant is no date", text[:40], "write it as in 2026-12-31") from None
    now = datetime.now(UTC)
    if not now < until <= now + LONGEST:
        raise SettingsError("a grant ends in the future, and within a year", text[:40])
    return until


def _view(standing: Standing) -> GrantView:
    grant = standing.grant
    return GrantView(
        id=standing.id, digest=grant.digest, grant=grant.json(), state=standing.state, used=len(standing.uses)
    )

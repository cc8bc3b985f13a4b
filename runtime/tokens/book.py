"""The book of tokens: which were issued and which revoked, as the log has it, and who comes with one.

Whoever presents a token is looked up at each call: it must be signed by this site, be in the book, and be neither
expired nor revoked, and its user must still be one. A stolen token is good until then, and no longer; so none is good
for more than MOST_S. The book is the log: it survives a restart, and a token that the log knows nothing of is none. A
restore of the log may have forgotten what was revoked, so it ends all tokens from before.

A clock that is set back brings no expired token back: the time is that of the latest event since the token was issued,
if the clock says less. The token itself is in no event and no log; its id is.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from runtime.conductor.scope import CORE_VERSION
from runtime.gateway.messages import IssuedView, TokenView
from runtime.people import People
from runtime.tokens.token import Claims, opened, refused, signed
from store.keys.files import make_key, read_key
from store.ledger.database import KEYS
from store.ledger.ledger import Ledger, Pending
from store.ledger.reader import EVERYTHING
from store.records.canonical import Json
from store.records.errors import BailiwickError, Denied, SettingsError
from store.records.event import Draft, Event
from store.records.identity import NO_UID, ROLES, User
from store.records.kinds import Kind

MOST_S = 30 * 86_400
FILE = "token.key"


@dataclass
class Issued:
    """A token in the book. `event` is the number of its event; an empty `user` says that the log knows no more."""

    id: str
    event: int
    by: str
    user: str
    tenant: str
    roles: tuple[str, ...] | None
    issued: int
    expires: int
    revoked: bool = False


class TokenBook:
    """The tokens of one site. `clock` tells the time in seconds since 1970 (UTC)."""

    def __init__(self, ledger: Ledger, people: People, clock: Callable[[], float] = time.time) -> None:
        self._ledger, self._people, self._clock = ledger, people, clock
        self._path = ledger.folder / KEYS / FILE
        self._key = read_key(self._path) if self._path.exists() else b""
        self._all: dict[str, Issued] = {}
        for event in ledger.events(
            kinds=[Kind.TOKEN_ISSUED, Kind.TOKEN_REVOKED, Kind.LEDGER_RESTORED], limit=EVERYTHING
        ):
            self._take(event)

    @property
    def site(self) -> str:
        """The name of this site, which its keystore has had since it was made."""
        return self._ledger.keystore.header.store

    async def issue(self, user: str, expires_s: int, roles: Sequence[str] | None, by: User) -> IssuedView:
        """A token for a user, once that is on disk. With `roles` it is good for these only.

        Raises Denied unless `by` is an admin of the user's tenant, or the user is none; SettingsError for a time or
        roles that cannot be.
        """
        whom = self._people.named(user)
        if "admin" not in by.roles or by.tenant != whom.tenant:
            raise Denied(f"{by.name} may not issue tokens for {user}", do="ask an admin of their tenant")
        if not 1 <= expires_s <= MOST_S:
            raise SettingsError(f"a token is good for at most {MOST_S // 86_400} days", do="say less with --expires")
        if lacking := sorted(set(roles or ()) - set(whom.roles)):
            raise SettingsError(f"{user} does not have the role {lacking[0]}", do=f"they have {', '.join(whom.roles)}")
        self._key = self._key or make_key(self._path)
        chosen = None if roles is None else tuple(role for role in ROLES if role in roles)
        now, id = int(self._clock()), secrets.token_hex(8)
        token = Claims(id, self.site, user, whom.uid, whom.tenant, now, now + expires_s, chosen)
        told = {"user": user, "roles": roles and list(roles), "issued": now, "expires": token.expires}
        pending = self._told(Kind.TOKEN_ISSUED, by, id, user, whom.tenant, told)
        self._all[id] = Issued(id, pending.event.seq, by.name, user, whom.tenant, chosen, now, token.expires)
        await pending.durable()
        return IssuedView(token=signed(token, self._key), id=id, expires=_time(token.expires))

    async def revoke(self, id: str, by: User) -> str:
        """End a token, by its id or an unambiguous beginning of it; its id, once that is on disk.

        Raises SettingsError if there is none, Denied unless it is the caller's own or they are an admin.
        """
        found = [each for each in self._of(by) if each.id.startswith(id)]
        if len(found) != 1 or not id:
            what = "several tokens begin like this" if found and id else "there is no such token of yours"
            raise SettingsError(what, id, "see `bailiwick tokens list`")
        [token] = found
        if token.revoked:
            raise SettingsError("the token is revoked already", token.id)
        if "admin" not in by.roles and token.user != by.name:
            raise Denied(f"{by.name} may not revoke a token of {token.user}", do="ask an admin")
        pending = self._told(Kind.TOKEN_REVOKED, by, token.id, token.user, token.tenant, None, token.event)
        token.revoked = True
        await pending.durable()
        return token.id

    def views(self, by: User) -> list[TokenView]:
        """The caller's own tokens, or (admins and auditors) all of their tenant, the newest first."""
        return [
            TokenView(
                id=each.id,
                user=each.user,
                roles=each.roles,
                by=each.by,
                issued=_time(each.issued),
                expires=_time(each.expires),
                state="revoked" if each.revoked else "expired" if self._now(each) >= each.expires else "valid",
            )
            for each in sorted(self._of(by), key=lambda each: -each.event)
        ]

    def bearer(self, token: str) -> User:
        """Who comes with a token, as they are now. Raises Denied."""
        if not self._key:
            raise refused()
        claims = opened(token, self._key, self.site)
        entry = self._all.get(claims.id)
        if entry is None or entry.revoked:
            raise Denied("the token was revoked", f"token {claims.id}", "ask the site's admin for another")
        if self._now(entry) >= claims.expires:
            raise Denied("the token has expired", f"token {claims.id}", "ask the site's admin for another")
        user = self._people.named(claims.user)
        if user.tenant != claims.tenant or (NO_UID not in (user.uid, claims.uid) and user.uid != claims.uid):
            raise Denied("the token is another person's", f"token {claims.id}", "ask the site's admin for another")
        roles = user.roles if claims.roles is None else tuple(role for role in user.roles if role in claims.roles)
        if not roles:
            raise Denied(
                "the token's user has none of its roles any more", f"token {claims.id}", "ask the site's admin"
            )
        return replace(user, roles=roles)

    def _now(self, token: Issued) -> float:
        """The time, or that of the latest event since a token was issued, if that is later."""
        latest = self._ledger.latest_since(token.event)
        return max(self._clock(), datetime.fromisoformat(latest).timestamp() if latest else 0.0)

    def _of(self, by: User) -> list[Issued]:
        whole = not {"admin", "auditor"}.isdisjoint(by.roles)
        return [each for each in self._all.values() if each.tenant == by.tenant and (whole or each.user == by.name)]

    def _take(self, event: Event) -> None:
        """Read one event. A token of which the log says no more, because its content is gone, is revoked by that."""
        if event.kind == Kind.LEDGER_RESTORED:
            for each in self._all.values():
                each.revoked = True
        elif event.kind == Kind.TOKEN_REVOKED:
            if event.fingerprint in self._all:
                self._all[event.fingerprint].revoked = True
        else:
            try:
                told = self._ledger.payload(event.payload)
            except BailiwickError:
                told = {"user": event.decision, "roles": None, "issued": 0, "expires": 0}
            roles = None if told["roles"] is None else tuple(told["roles"])
            facts = (event.fingerprint, event.seq, event.principal, told["user"], event.tenant, roles)
            self._all[event.fingerprint] = Issued(*facts, told["issued"], told["expires"], not told["expires"])

    def _told(self, kind: Kind, by: User, id: str, user: str, tenant: str, payload: Json, cause: int = 0) -> Pending:
        draft = Draft(
            kind=kind,
            tenant=tenant,
            unit=by.unit,
            actor="gateway",
            actor_version=CORE_VERSION,
            principal=by.name,
            fingerprint=id,
            decision=user,
            cause=cause,
        )
        return self._ledger.append(draft, payload)


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()}Z"

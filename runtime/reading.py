"""Who reads the log: what of it they may see, and the record that they did.

A caller sees what is their tenant's; an auditor sees all of it. Whatever shows content or runs a query is an event
(`audit.read`) that is on disk before the answer is given. The looks that a screen takes every second run none, and of
content they show what is in the caller's own runs: they are no such event. Nothing in here may trust what a caller says
of themselves: the user is the operating system's or a token's.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from store.ledger.ledger import Ledger, Pending
from store.records.canonical import Json
from store.records.errors import Denied
from store.records.event import Draft
from store.records.identity import User
from store.records.kinds import Kind


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a caller sees: one tenant, or all (None); and whose runs are their own: tenant and name of a user."""

    tenant: str | None
    user: tuple[str, str] | None = None

    @classmethod
    def of(cls, user: User) -> "Reach":
        """What a user may read."""
        return cls(None if "auditor" in user.roles else user.tenant, (user.tenant, user.name))

    def covers(self, tenant: str) -> bool:
        """Whether what is a tenant's may be read."""
        return self.tenant in (None, tenant)

    def owns(self, tenant: str, name: str) -> bool:
        """Whether a run of this user is the caller's own; to the runtime itself all are."""
        return self == EVERYTHING or self.user == (tenant, name)

    @property
    def whole(self) -> bool:
        """Whether the whole log may be read."""
        return self.tenant is None

    def check_whole(self) -> None:
        """Raise Denied unless the whole log may be read."""
        if not self.whole:
            raise Denied("only an auditor may read the whole log", do="ask someone with the role auditor")


EVERYTHING = Reach(None)
"""The reach of the runtime itself."""


@dataclass(frozen=True, slots=True)
class Read:
    """A read of the log: the verb, what was asked, and how many rows it gave (None: it goes on)."""

    verb: str
    asked: Json
    rows: int | None


Note = Callable[[Read], Awaitable[None]]
"""Takes a read; returns once it may be answered."""


async def unnoted(_: Read) -> None:
    """The runtime does not record that it reads its own log."""


def record(ledger: Ledger, user: User, read: Read) -> Pending:
    """Put a read on record. What was asked is free text, so it is in the payload."""
    from runtime.conductor.scope import CORE_VERSION  # late: a query needs nothing else of the conductor's

    draft = Draft(
        kind=Kind.AUDIT_READ,
        tenant=user.tenant,
        unit=user.unit,
        actor="gateway",
        actor_version=CORE_VERSION,
        principal=user.name,
        decision=read.verb,
    )
    return ledger.append(draft, {"asked": read.asked, "rows": read.rows})

"""What becomes of content: the keeper of a ledger, on behalf of one user, who must be an admin."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from runtime.gateway.messages import ContentScope, GoneView
from store.keys.scope import Scope
from store.ledger.keeper import Gone, Keeper
from store.ledger.ledger import Ledger
from store.records.errors import Denied
from store.records.identity import User

T = TypeVar("T")


@dataclass(frozen=True)
class Keeping:
    """Orders about content. `days` says how long each retention class is kept; 0, or not named: for ever."""

    ledger: Ledger
    days: Mapping[str, int]
    user: User

    async def hold(self, scope: ContentScope, reason: str) -> int:
        """As Verbs.hold."""
        return await self._asked(lambda keeper: keeper.hold(_scope(scope), self.user.name, reason).seq)

    async def end_hold(self, scope: ContentScope) -> int:
        """As Verbs.end_hold."""
        return await self._asked(lambda keeper: keeper.release(_scope(scope), self.user.name).seq)

    async def shred(self, scope: ContentScope) -> GoneView:
        """As Verbs.shred."""
        return await self._asked(lambda keeper: _view(keeper.shred(_scope(scope), self.user.name)))

    async def sweep(self, dry_run: bool) -> list[GoneView]:
        """As Verbs.sweep."""
        return await self._asked(
            lambda keeper: [_view(gone) for gone in keeper.sweep(self.days, self.user.name, dry_run=dry_run)]
        )

    async def _asked(self, order: Callable[[Keeper], T]) -> T:
        if "admin" not in self.user.roles:
            raise Denied(
                f"{self.user.name} may not decide what becomes of content", do="ask someone with the role admin"
            )
        return await asyncio.to_thread(order, self.ledger.keeper)


def _scope(view: ContentScope) -> Scope:
    return Scope(view.tenant, view.user, view.retention)


def _view(gone: Gone) -> GoneView:
    return GoneView(
        scope=str(gone.scope), payloads=gone.payloads, keys=gone.keys, events=gone.events, memories=gone.memories
    )

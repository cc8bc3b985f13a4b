"""The desk: what one caller reads of a core that is up. What the ledger knows, and what only the core knows yet.

Every read of a caller goes through one, made for their user; nothing in it acts.
"""

from collections.abc import Sequence

from runtime.core import Core
from runtime.gateway.messages import ApprovalView, BudgetView, GrantView, PolicyChangeView, QuestionView, RunView
from runtime.queries import LedgerQueries
from runtime.reading import Reach, Read, record
from store.records.identity import User


class Desk(LedgerQueries):
    """The queries of a core's ledger, on behalf of a user; what must be on record is so before it is answered."""

    def __init__(self, core: Core, user: User) -> None:
        super().__init__(core.ledger, Reach.of(user), self._record)
        self._core, self._user = core, user

    async def runs(self, limit: int = 50) -> list[RunView]:
        """As Queries.runs, with what waits for a person marked as waiting."""
        return [self._core.live(view) for view in await super().runs(limit)]

    async def run(self, run: str, payloads: bool = False) -> RunView:
        """As Queries.run."""
        return self._core.live(await super().run(run, payloads))

    async def approvals(self, payloads: bool = False) -> list[ApprovalView]:
        """As Verbs.approvals."""
        found = await self._core.waiting(self._user, payloads)
        if payloads:
            await self._show("approvals", found)
        return found

    async def questions(self) -> list[QuestionView]:
        """As Verbs.questions."""
        found = await self._core.questions(self._user)
        await self._show("questions", found)
        return found

    async def grants(self) -> list[GrantView]:
        """As Verbs.grants."""
        return self._core.granting.views(self._user)

    async def proposed_policy(self) -> list[PolicyChangeView]:
        """As Verbs.proposed_policy."""
        return self._core.policing.proposed()

    async def budgets(self) -> list[BudgetView]:
        """The budgets, with what is spoken for."""
        return await self._core.budgeting(self._user).budgets()

    async def begin_follow(self, after: int, run: str) -> None:
        """Have it on record that content is shown from here on, as `newer` gives it."""
        await self._record(Read("follow", {"after": after, "run": run}, None))

    async def _show(self, verb: str, found: Sequence[ApprovalView | QuestionView]) -> None:
        """Have it on record whose content is shown, if any is."""
        if found:
            await self._record(Read(verb, {"runs": sorted({each.run for each in found})}, len(found)))

    async def _record(self, read: Read) -> None:
        await record(self._core.ledger, self._user, read).durable()

"""The gateway's verbs, carried out by the core's actor. A core that died is waited for; a query is asked again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from runtime.actors.core import CoreHandle
from runtime.gateway.messages import (
    AlertView,
    Answer,
    ApprovalView,
    BackupView,
    BudgetSpec,
    BudgetView,
    CheckpointView,
    ContentScope,
    CostKey,
    CostView,
    DestroyedView,
    EventView,
    ForkView,
    GoneView,
    GrantSpec,
    GrantView,
    HoldView,
    IssuedView,
    PolicyChangeView,
    PolicyView,
    ProofView,
    QuestionView,
    QueueView,
    RunView,
    ScheduleChange,
    ScheduleSpec,
    ScheduleView,
    StatusView,
    StorageView,
    Submission,
    TableView,
    TokenOrder,
    TokenView,
    UserView,
    VerifyView,
    WhoView,
)
from runtime.people import People
from runtime.reading import Reach
from runtime.who import users, whoami
from store.records.errors import Unreachable
from store.records.identity import User
from store.records.kinds import Ended

WAIT_S = 2.0
BATCH = 200
OVER = frozenset({*get_args(Ended), "parked", "paused"})
"""How a run stands when nobody need follow it any further."""


class Kernel(Protocol):
    """What the verbs need of the supervisor."""

    async def core(self) -> CoreHandle:
        """The handle of the core that is up, once it is. Raises Unreachable if none comes."""
        ...

    @property
    def people(self) -> People: ...
    async def status(self) -> StatusView: ...
    def request_stop(self) -> None: ...


@dataclass(frozen=True)
class CoreVerbs:
    """Verbs on behalf of one caller."""

    kernel: Kernel
    user: User

    async def runs(self, limit: int = 50) -> list[RunView]:
        views: list[RunView] = await self._read("runs", limit)
        return views

    async def run(self, run: str, payloads: bool = False) -> RunView:
        view: RunView = await self._read("run", run, payloads)
        return view

    async def events(self, after: int = 0, run: str = "", limit: int = 500, payloads: bool = False) -> list[EventView]:
        views: list[EventView] = await self._read("events", after, run, limit, payloads)
        return views

    async def sql(self, query: str) -> TableView:
        table: TableView = await self._read("sql", query)
        return table

    async def verify(self) -> VerifyView:
        view: VerifyView = await self._read("verify")
        return view

    async def holds(self) -> list[HoldView]:
        views: list[HoldView] = await self._read("holds")
        return views

    async def prove(self, event: int) -> ProofView:
        proof: ProofView = await self._read("prove", event)
        return proof

    async def checkpoint(self, since: str | None = None) -> ProofView:
        proof: ProofView = await self._read("checkpoint", since)
        return proof

    async def export(self) -> ProofView:
        proof: ProofView = await self._read("export")
        return proof

    async def checkpoints(self, after: int = 0, limit: int = 500) -> list[CheckpointView]:
        views: list[CheckpointView] = await self._read("checkpoints", after, limit)
        return views

    async def destroyed(self, after: int = 0, id: str = "", limit: int = 500) -> list[DestroyedView]:
        views: list[DestroyedView] = await self._read("destroyed", after, id, limit)
        return views

    async def storage(self) -> StorageView:
        view: StorageView = await self._read("storage")
        return view

    async def costs(self, by: CostKey, since: str = "", until: str = "") -> list[CostView]:
        views: list[CostView] = await self._read("costs", by, since, until)
        return views

    async def alerts(self) -> list[AlertView]:
        views: list[AlertView] = await self._read("alerts")
        return views

    async def policy(self, digest: str = "") -> PolicyView:
        view: PolicyView = await self._read("policy", digest)
        return view

    async def propose_policy(self) -> PolicyChangeView:
        view: PolicyChangeView = await self._once("propose_policy", self.user)
        return view

    async def proposed_policy(self) -> list[PolicyChangeView]:
        views: list[PolicyChangeView] = await self._read("proposed_policy")
        return views

    async def approve_policy(self, digest: str, meaning: str = "") -> PolicyChangeView:
        view: PolicyChangeView = await self._once("approve_policy", digest, meaning, self.user)
        return view

    async def approvals(self, payloads: bool = False) -> list[ApprovalView]:
        views: list[ApprovalView] = await self._read("approvals", payloads)
        return views

    async def status(self) -> StatusView:
        return await self.kernel.status()

    async def submit(self, submission: Submission) -> str:
        """Asked once: a second try could start the run twice."""
        run: str = await self._once("submit", submission, self.user)
        return run

    async def answer(self, answer: Answer) -> None:
        await self._once("answer", answer, self.user)

    async def grants(self) -> list[GrantView]:
        views: list[GrantView] = await self._read("grants")
        return views

    async def propose_grant(self, grant: GrantSpec) -> GrantView:
        view: GrantView = await self._once("propose_grant", grant, self.user)
        return view

    async def add_grant(self, grant: GrantSpec, digest: str) -> GrantView:
        view: GrantView = await self._once("add_grant", grant, digest, self.user)
        return view

    async def revoke_grant(self, id: str, reason: str = "") -> None:
        await self._once("revoke_grant", id, reason, self.user)

    async def cancel(self, run: str, reason: str = "") -> None:
        await self._once("cancel", run, self.user, reason)

    async def pause(self, run: str, reason: str = "") -> None:
        await self._once("pause", run, self.user, reason)

    async def signal(self, run: str, name: str, value: Any = None) -> None:
        await self._once("signal", run, name, value, self.user)

    async def questions(self) -> list[QuestionView]:
        views: list[QuestionView] = await self._read("questions")
        return views

    async def reply(self, run: str, value: Any, step: str = "") -> None:
        await self._once("reply", run, step, value, self.user)

    async def retry(self, run: str) -> str:
        found: str = await self._once("retry", run, self.user)
        return found

    async def fork(self, run: str, step: str, again: bool = False) -> ForkView:
        view: ForkView = await self._once("fork", run, step, self.user, again)
        return view

    async def settle(self, run: str, happened: bool, value: Any = None, step: str = "", reason: str = "") -> str:
        found: str = await self._once("settle", run, step, happened, value, self.user, reason)
        return found

    async def halt(self, reason: str = "") -> None:
        await self._once("halt", self.user, reason)

    async def release(self, reason: str = "") -> list[str]:
        runs: list[str] = await self._once("release", self.user, reason)
        return runs

    async def resume(self, run: str = "") -> list[str]:
        runs: list[str] = await self._once("resume", run, self.user)
        return runs

    async def hold(self, scope: ContentScope, reason: str) -> int:
        event: int = await self._once("hold", scope, reason, self.user)
        return event

    async def end_hold(self, scope: ContentScope) -> int:
        event: int = await self._once("end_hold", scope, self.user)
        return event

    async def shred(self, scope: ContentScope) -> GoneView:
        gone: GoneView = await self._once("shred", scope, self.user)
        return gone

    async def sweep(self, dry_run: bool = False) -> list[GoneView]:
        gone: list[GoneView] = await self._once("sweep", dry_run, self.user)
        return gone

    async def backup(self, folder: str) -> BackupView:
        view: BackupView = await self._once("backup", folder, self.user)
        return view

    async def whoami(self) -> WhoView:
        return whoami(self.user, self.kernel.people)

    async def users(self) -> list[UserView]:
        return users(self.kernel.people, Reach.of(self.user))

    async def issue_token(self, order: TokenOrder) -> IssuedView:
        issued: IssuedView = await self._once("issue_token", order, self.user)
        return issued

    async def tokens(self) -> list[TokenView]:
        views: list[TokenView] = await self._query("list_tokens", self.user)
        return views

    async def revoke_token(self, id: str) -> str:
        revoked: str = await self._once("revoke_token", id, self.user)
        return revoked

    async def stop(self) -> None:
        self.kernel.request_stop()

    async def queues(self) -> list[QueueView]:
        views: list[QueueView] = await self._query("queues")
        return views

    async def schedules(self) -> list[ScheduleView]:
        views: list[ScheduleView] = await self._query("list_schedules", self.user)
        return views

    async def add_schedule(self, schedule: ScheduleSpec) -> ScheduleView:
        view: ScheduleView = await self._once("add_schedule", schedule, self.user)
        return view

    async def change_schedule(self, name: str, change: ScheduleChange) -> None:
        await self._once("change_schedule", name, change, self.user)

    async def budgets(self) -> list[BudgetView]:
        views: list[BudgetView] = await self._read("budgets")
        return views

    async def set_budget(self, budget: BudgetSpec) -> None:
        await self._once("set_budget", budget, self.user)

    async def follow(self, after: int = 0, run: str = "", payloads: bool = False) -> AsyncIterator[EventView]:
        if payloads:
            await self._read("begin_follow", after, run)
        while True:
            batch: list[EventView] = await self._read("newer", after, run, BATCH, payloads, WAIT_S)
            for view in batch:
                after = view.event["seq"]
                yield view
            if run and not batch and (await self.run(run)).status in OVER:
                last: list[EventView] = await self._read("newer", after, run, BATCH, payloads, 0.0)
                for view in last:
                    yield view
                return

    async def _once(self, method: str, *arguments: Any) -> Any:
        core = await self.kernel.core()
        return await core.call(method, *arguments)

    async def _read(self, method: str, *arguments: Any) -> Any:
        """What the caller may see, and nothing else."""

        async def ask() -> Any:
            core = await self.kernel.core()
            return await core.ask(self.user, method, *arguments)

        return await patient(ask)

    async def _query(self, method: str, *arguments: Any) -> Any:
        return await patient(lambda: self._once(method, *arguments))


async def patient(ask: Callable[[], Any], tries: int = 3) -> Any:
    """The answer to a query; a core that dies while it answers is asked again in its next epoch."""
    for _ in range(tries - 1):
        try:
            return await ask()
        except Unreachable:
            await asyncio.sleep(0.3)
    return await ask()

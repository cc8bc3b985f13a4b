"""The gateway's verbs, carried out by the core's actor. A core that died is waited for; a query is asked again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from runtime.actors.core import CoreHandle
from runtime.gateway.messages import (
    Answer,
    ApprovalView,
    BackupView,
    ContentScope,
    EventView,
    ForkView,
    GoneView,
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
    VerifyView,
)
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

    async def status(self) -> StatusView: ...
    def request_stop(self) -> None: ...


@dataclass(frozen=True)
class CoreVerbs:
    """Verbs on behalf of one caller."""

    kernel: Kernel
    user: User

    async def runs(self, limit: int = 50) -> list[RunView]:
        views: list[RunView] = await self._query("runs", limit)
        return views

    async def run(self, run: str) -> RunView:
        view: RunView = await self._query("run", run)
        return view

    async def events(self, after: int = 0, run: str = "", limit: int = 500, payloads: bool = False) -> list[EventView]:
        views: list[EventView] = await self._query("events", after, run, limit, payloads, 0.0)
        return views

    async def sql(self, query: str) -> TableView:
        table: TableView = await self._query("sql", query)
        return table

    async def verify(self) -> VerifyView:
        view: VerifyView = await self._query("verify")
        return view

    async def prove(self, event: int) -> ProofView:
        proof: ProofView = await self._query("prove", event)
        return proof

    async def checkpoint(self, since: str | None = None) -> ProofView:
        proof: ProofView = await self._query("checkpoint", since)
        return proof

    async def storage(self) -> StorageView:
        view: StorageView = await self._query("storage")
        return view

    async def approvals(self) -> list[ApprovalView]:
        views: list[ApprovalView] = await self._query("waiting")
        return views

    async def status(self) -> StatusView:
        return await self.kernel.status()

    async def submit(self, submission: Submission) -> str:
        """Asked once: a second try could start the run twice."""
        run: str = await self._once("submit", submission, self.user)
        return run

    async def answer(self, answer: Answer) -> None:
        await self._once("answer", answer, self.user)

    async def cancel(self, run: str, reason: str = "") -> None:
        await self._once("cancel", run, self.user, reason)

    async def pause(self, run: str, reason: str = "") -> None:
        await self._once("pause", run, self.user, reason)

    async def signal(self, run: str, name: str, value: Any = None) -> None:
        await self._once("signal", run, name, value, self.user)

    async def questions(self) -> list[QuestionView]:
        views: list[QuestionView] = await self._query("questions")
        return views

    async def reply(self, run: str, value: Any, step: str = "") -> None:
        await self._once("reply", run, step, value, self.user)

    async def retry(self, run: str) -> str:
        found: str = await self._once("retry", run, self.user)
        return found

    async def fork(self, run: str, step: str) -> ForkView:
        view: ForkView = await self._once("fork", run, step, self.user)
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

    async def follow(self, after: int = 0, run: str = "", payloads: bool = False) -> AsyncIterator[EventView]:
        while True:
            batch: list[EventView] = await self._query("events", after, run, BATCH, payloads, WAIT_S)
            for view in batch:
                after = view.event["seq"]
                yield view
            if run and not batch and (await self.run(run)).status in OVER:
                last = await self.events(after, run, BATCH, payloads)
                for view in last:
                    yield view
                return

    async def _once(self, method: str, *arguments: Any) -> Any:
        core = await self.kernel.core()
        return await core.call(method, *arguments)

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

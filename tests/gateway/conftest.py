"""A gateway on a real socket, in front of verbs that answer from a list in memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Set
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from runtime.gateway.messages import (
    Answer,
    ApprovalView,
    EventView,
    ProofView,
    RunView,
    StatusView,
    Submission,
    TableView,
    VerifyView,
)
from runtime.gateway.server import Gateway
from runtime.gateway.session import Limits
from store.records.errors import Denied, SettingsError
from store.records.identity import ROLES, User

RUN = RunView(run="r1", status="running", workflow="triage", principal="root", started="2026-11-01T10:00:00Z", events=3)


class Desk:
    """Verbs over a list of events. `gate` holds `verify` back until a test opens it."""

    def __init__(self) -> None:
        self.user: User | None = None
        self.log: list[EventView] = []
        self.grown = asyncio.Condition()
        self.following = 0
        self.answers: list[Answer] = []
        self.submissions: list[Submission] = []
        self.gate = asyncio.Event()
        self.verified = 0
        self.on_stop: Callable[[], Awaitable[None]] | None = None

    async def append(self, count: int = 1, payload: Any = None) -> None:
        async with self.grown:
            for _ in range(count):
                seq = len(self.log) + 1
                self.log.append(EventView(event={"seq": seq, "run": "r1"}, hash=f"{seq:064x}", payload=payload))
            self.grown.notify_all()

    async def runs(self, limit: int = 50) -> list[RunView]:
        return [RUN][:limit]

    async def run(self, run: str, payloads: bool = False) -> RunView:
        if run != "r1":
            raise SettingsError("there is no such run", run, "see `bailiwick runs list`")
        return RUN

    async def events(self, after: int = 0, run: str = "", limit: int = 500, payloads: bool = False) -> list[EventView]:
        return self.log[after : after + limit]

    async def sql(self, query: str) -> TableView:
        if query == "broken":
            raise RuntimeError("the prompt was: a secret")
        return TableView(columns=("a", "b"), rows=((1, "x"), (None, 2.5)))

    async def verify(self) -> VerifyView:
        await self.gate.wait()
        self.verified += 1
        return VerifyView(ok=True, events=len(self.log))

    async def prove(self, event: int) -> ProofView:
        return ProofView(text=f"proof of {event}", key="k", fingerprint="f")

    async def checkpoint(self, since: str | None = None) -> ProofView:
        return ProofView(text=since or "checkpoint", key="k", fingerprint="f")

    async def submit(self, submission: Submission) -> str:
        self.submissions.append(submission)
        return "r1"

    async def follow(self, after: int = 0, run: str = "", payloads: bool = False) -> AsyncIterator[EventView]:
        self.following += 1
        try:
            while True:
                async with self.grown:
                    await self.grown.wait_for(lambda seen=after: len(self.log) > seen)
                for view in self.log[after:]:
                    yield view
                after = len(self.log)
                if run == "ended":
                    return
        finally:
            self.following -= 1

    async def approvals(self, payloads: bool = False) -> list[ApprovalView]:
        return []

    async def resume(self, run: str = "") -> list[str]:
        return [run or "r1"]

    async def answer(self, answer: Answer) -> None:
        if answer.approval == "foreign":
            raise Denied("only an approver may answer", answer.approval)
        self.answers.append(answer)

    async def status(self) -> StatusView:
        return StatusView(pid=os.getpid(), epoch=1, events=len(self.log), open_runs=1, parts={"core": 0})

    async def stop(self) -> None:
        if self.on_stop:
            await self.on_stop()


def person(uid: int) -> User:
    """The user of a user id, as the settings would name it."""
    return User(f"u{uid}", uid, "site", "ops", ROLES)


Serve = Callable[..., Awaitable[Gateway]]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "gateway.sock"


@pytest.fixture
async def serve(desk: Desk, path: Path) -> AsyncIterator[Serve]:
    """Start a gateway, with `limits` or tool hosts of a test's choice; closed at the end of the test."""
    async with AsyncExitStack() as stack:

        async def start(
            hosts: Callable[[], Set[int]] = frozenset, limits: Limits | None = None, **more: Any
        ) -> Gateway:
            def verbs_for(user: User) -> Desk:
                desk.user = user
                return desk

            gateway = Gateway(more.pop("path", path), verbs_for, hosts, identify=person, limits=limits, **more)
            await gateway.start()
            stack.push_async_callback(gateway.close)
            return gateway

        yield start


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Let the loop go on until a condition holds; the test's own time limit ends it if it never does."""

    async def wait(true: Callable[[], bool]) -> None:
        while not true():
            await asyncio.sleep(0.005)

    return wait

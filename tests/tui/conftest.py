"""A dashboard on a real gateway's socket, in front of verbs that answer from lists in memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.gateway.messages import (
    Answer,
    ApprovalView,
    EventView,
    ModelView,
    RunView,
    StatusView,
    Submission,
    TableView,
    VerifyView,
)
from runtime.gateway.server import Gateway
from store.records.errors import SettingsError
from store.records.identity import ROLES, User
from tui.dashboard import Dashboard


class Stage:
    """Verbs over a list of events, a list of runs and a list of approvals."""

    def __init__(self, name: str = "one") -> None:
        self.name = name
        self.log: list[EventView] = []
        self.all_runs: list[RunView] = []
        self.waiting: list[ApprovalView] = []
        self.answers: list[Answer] = []
        self.models: tuple[ModelView, ...] = ()
        self.counters: dict[str, float] = {}
        self.followed_from: list[int] = []
        self.grown = asyncio.Condition()

    async def tell(self, kind: str, **fields: Any) -> None:
        """One more event."""
        async with self.grown:
            seq = len(self.log) + 1
            event = {"seq": seq, "time": "2026-11-01T10:00:00.000000Z", "kind": kind, "actor": "core", **fields}
            self.log.append(EventView(event=event, hash=f"{self.name}-{seq}"))
            self.grown.notify_all()

    def begin(self, run: str, **fields: Any) -> None:
        """One more run, the newest."""
        facts = {"status": "running", "workflow": "triage", "principal": "ann", "started": "2026-11-01T10:00:00Z"}
        self.all_runs.insert(0, RunView.model_validate({"run": run, "events": 1, **facts, **fields}))

    async def runs(self, limit: int = 50) -> list[RunView]:
        return self.all_runs[:limit]

    async def run(self, run: str, payloads: bool = False) -> RunView:
        return next(each for each in self.all_runs if each.run == run)

    async def events(self, after: int = 0, run: str = "", limit: int = 500, payloads: bool = False) -> list[EventView]:
        return [view for view in self.log[after:] if run in ("", view.event.get("run"))][:limit]

    async def sql(self, query: str) -> TableView:
        raise SettingsError("no tables here")

    async def verify(self) -> VerifyView:
        return VerifyView(ok=True, events=len(self.log))

    async def submit(self, submission: Submission) -> str:
        raise SettingsError("nothing is run here")

    async def follow(self, after: int = 0, run: str = "", payloads: bool = False) -> AsyncIterator[EventView]:
        self.followed_from.append(after)
        while True:
            async with self.grown:
                await self.grown.wait_for(lambda seen=after: len(self.log) > seen)
            for view in self.log[after:]:
                yield view
            after = len(self.log)

    async def approvals(self, payloads: bool = False) -> list[ApprovalView]:
        return list(self.waiting)

    async def resume(self, run: str = "") -> list[str]:
        return []

    async def answer(self, answer: Answer) -> None:
        if answer.approval not in {each.approval for each in self.waiting}:
            raise SettingsError("this approval is not waiting", answer.approval)
        self.answers.append(answer)
        self.waiting = [each for each in self.waiting if each.approval != answer.approval]
        await self.tell("approval.answered")

    async def status(self) -> StatusView:
        open_runs = sum(run.status == "running" for run in self.all_runs)
        return StatusView(
            pid=os.getpid(),
            epoch=3,
            events=len(self.log),
            open_runs=open_runs,
            parts={"core": 1},
            model="smollm2",
            models=self.models,
            counters=dict(self.counters),
        )

    async def stop(self) -> None:
        raise SettingsError("this one stays")


class Screen:
    """What a person sees of a dashboard, and the keys they press."""

    def __init__(self, app: Dashboard, pilot: Any) -> None:
        self.app, self._pilot = app, pilot

    @property
    def lines(self) -> list[str]:
        """The lines on the screen."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def until(self, *texts: str, gone: str = "") -> None:
        """Wait until all of these are on the screen, and `gone` is not. A vain wait ends with what is there instead."""
        try:
            async with asyncio.timeout(60):
                while not all(text in self.text for text in texts) or (gone and gone in self.text):
                    await self._pilot.pause(0.02)
        except TimeoutError:
            pytest.fail(f"waited for {texts}{f' without {gone}' if gone else ''}, but see:\n{self.text}", pytrace=False)

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)
        await self._pilot.pause()


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "gateway.sock"


@pytest.fixture
def another() -> Callable[[str], Stage]:
    return Stage


@pytest.fixture
async def open_gateway(path: Path) -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Start a gateway in front of a stage; all are closed at the end."""
    opened: list[Gateway] = []

    async def start(stage: Stage, at: Path = path) -> Gateway:
        gateway = Gateway(at, lambda _: stage, frozenset, identify=lambda uid: User("ann", uid, "site", "ops", ROLES))
        await gateway.start()
        opened.append(gateway)
        return gateway

    yield start
    for gateway in opened:
        await gateway.close()


@pytest.fixture
def look(path: Path) -> Callable[..., Any]:
    """Open a dashboard in a terminal of 80x24, or another size."""

    @asynccontextmanager
    async def opened(
        size: tuple[int, int] = (80, 24), find: Callable[[], Path] = lambda: path
    ) -> AsyncIterator[Screen]:
        app = Dashboard(find, period_s=0.05, retry_s=0.05)
        async with app.run_test(size=size) as pilot:
            yield Screen(app, pilot)

    return opened

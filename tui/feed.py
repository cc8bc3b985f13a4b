"""Keeps a board up to date from whichever runtime listens, and goes on when it restarts."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import NoReturn

from runtime.gateway.client import Client
from runtime.gateway.messages import Answer, ApprovalView
from store.records.errors import BailiwickError, Unreachable
from tui.board import TAIL, Board

PERIOD_S = 0.5
RETRY_S = 1.0
RUNS = 50
PAGE = 500


class Feed:
    """The only part of the dashboard that talks to a runtime."""

    def __init__(self, board: Board, find: Callable[[], Path], period_s: float = PERIOD_S, retry_s: float = RETRY_S):
        """`find` is asked for the socket before each connection: the runtime to watch may be another by then."""
        self._board, self._find = board, find
        self._period_s, self._retry_s = period_s, retry_s
        self._client: Client | None = None
        self._news, self._wanted = asyncio.Event(), asyncio.Event()

    async def run(self) -> NoReturn:
        """Connect, watch, and connect again, until cancelled."""
        while True:
            try:
                async with await Client.connect(self._find()) as client:
                    await self._watch(client)
            except* BailiwickError as group:
                self._board.trouble = _told(group)
                self._board.version += 1
            finally:
                self._client = None
            await asyncio.sleep(self._retry_s)

    def select(self, run: str) -> None:
        """Show the steps of another run."""
        if run != self._board.selected:
            self._board.select(run)
            self._wanted.set()

    async def answer(self, answer: Answer) -> None:
        """Answer an approval. Raises what the runtime raises, and Unreachable while there is none."""
        if self._client is None:
            raise Unreachable("no runtime is connected", do="answer again when it is back")
        await self._client.answer(answer)
        self._news.set()

    async def _watch(self, client: Client) -> None:
        status = await client.status()
        if not await self._continues(client):
            self._board.forget()
        self._board.measure(status, time.monotonic())
        self._board.trouble = ""
        self._client = client
        self._news.set()
        self._wanted.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tail(client, self._board.seen or max(0, status.events - TAIL)))
            group.create_task(self._poll(client))
            group.create_task(self._steps(client))

    async def _continues(self, client: Client) -> bool:
        """True if the runtime keeps the ledger watched so far: the last event seen is in it, with the same hash."""
        if self._board.last is None:
            return True
        same = await client.events(after=self._board.seen - 1, limit=1)
        return [view.hash for view in same] == [self._board.last.hash]

    async def _tail(self, client: Client, after: int) -> None:
        async with aclosing(client.follow(after=after)) as events:
            async for view in events:
                if self._board.add(view):
                    self._wanted.set()
                self._news.set()
        raise Unreachable("the stream of events has ended")

    async def _poll(self, client: Client) -> None:
        while True:
            if self._news.is_set():
                self._news.clear()
                self._board.runs = await client.runs(limit=RUNS)
                self._board.approvals = await self._approvals(client)
                if self._board.runs and not (self._board.pinned and self._board.selected):
                    self.select(self._board.runs[0].run)
            self._board.measure(await client.status(), time.monotonic())
            await asyncio.sleep(self._period_s)

    async def _approvals(self, client: Client) -> list[ApprovalView]:
        """What waits, whole: arguments that a look leaves out are asked for once, as that is put on record."""
        found = await client.approvals()
        known = {each.approval: each for each in self._board.approvals}
        if any(each.withheld and each.approval not in known for each in found):
            return await client.approvals(True)
        return [each.whole(known[each.approval]) if each.withheld else each for each in found]

    async def _steps(self, client: Client) -> None:
        """Read the selected run's events from where they are known to. One way in, so none is counted twice."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            run = self._board.selected
            more = bool(run)
            while more:
                page = await client.events(after=self._board.steps_seen, run=run, limit=PAGE)
                if self._board.selected != run:
                    break
                self._board.learn(page)
                more = len(page) == PAGE


def _told(group: BaseExceptionGroup[BailiwickError]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"runtime unreachable, retrying: {error}"

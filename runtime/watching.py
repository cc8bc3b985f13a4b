"""Watching a run from a terminal: its lines as they come, and its approvals asked for where policy wants them.

Where there is no terminal, a run that needs a person ends the watching, never the run.
"""

import asyncio
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from runtime.gateway.backend import Verbs
from runtime.gateway.messages import Answer, ApprovalView, RunView
from runtime.narration import Line, narrate, short
from runtime.shown import needs, written
from store.records.errors import ERRORS, BailiwickError, Denied, SettingsError, Unreachable, Waiting
from store.records.visible import visible

Approve = Literal["yes", "no", "ask"]
PIPE_WIDTH = 160
LOOK_AGAIN_S = 0.5
ANSWERS = {"y": True, "yes": True, "n": False, "no": False}
STYLES = {"plain": "", "good": "green", "bad": "red", "wait": "yellow"}


@dataclass
class Watcher:
    """Prints a run to a console; `approve` answers its approvals or asks the person at the terminal (None: neither)."""

    client: Verbs
    console: Console
    approve: Approve | None = "ask"
    on_event: Callable[[str], None] = lambda _kind: None

    async def watch(self, run: str, after: int = 0) -> RunView:
        """Follow a run to its end. Raises Waiting if it needs a person and none can be asked here."""
        following = asyncio.ensure_future(self._follow(run, after))
        try:
            while not (await asyncio.wait([following], timeout=LOOK_AGAIN_S))[0]:
                if self.approve and not sys.stdin.isatty():
                    await self._check_questions(run)
            await following
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        found = await self.client.run(run)
        return await self.client.run(run, True) if found.withheld else found

    async def _follow(self, run: str, after: int) -> None:
        async for view in self.client.follow(after, run, True):
            line = narrate(view)
            if line is not None:
                self.console.print(rendered(line))
            self.on_event(view.event["kind"])
            if self.approve and view.event["kind"] in ("approval.requested", "run.resumed"):
                await self._answer_all(run)

    async def _check_questions(self, run: str) -> None:
        """Raise Waiting if the run asks something. No event says so of a run that is resumed: it had asked before."""
        if (await self.client.run(run)).status != "waiting":  # to read questions is on record
            return
        asked = [each for each in await self.client.questions() if each.run == run]
        if asked:
            first, step = asked[0], f" --step {asked[0].step}" if len(asked) > 1 else ""
            do = f"`bailiwick runs answer {run} VALUE{step}` answers it, while a runtime is up (`bailiwick up`)"
            raise Waiting(f"run {run} asks: {short(first.question)}", f"for {first.to}" if first.to else "", do)

    async def _answer_all(self, run: str) -> None:
        """Answer what waits in this run. After a restart of the core the same request may wait again."""
        for waiting in await self._waiting(run):
            if not waiting.may_answer:
                self.console.print(escape(f"{visible(waiting.tool)} waits for others: {visible(needs(waiting))}"))
                continue
            if self.approve == "ask":
                yes, meaning = await self._ask(waiting), "typed at the terminal"
            else:
                yes, meaning = self.approve == "yes", f"given by --approve {self.approve}"
            if yes is None:
                continue
            answer = Answer(approval=waiting.approval, yes=yes, meaning=meaning, digest=waiting.digest)
            # Somebody else was faster, or the core died: the next one, if the answer is not on disk, asks again.
            with suppress(SettingsError, Unreachable):
                await self.client.answer(answer)

    async def _waiting(self, run: str) -> list[ApprovalView]:
        """What waits in this run, whole."""
        found = [each for each in await self.client.approvals() if each.run == run]
        if any(each.withheld for each in found):
            return [each for each in await self.client.approvals(True) if each.run == run]
        return found

    async def _ask(self, view: ApprovalView) -> bool | None:
        """The person's word, asked for until it is one; None if somebody else has answered meanwhile."""
        if not sys.stdin.isatty():
            do = f"`bailiwick resume {view.run} --approve yes` (or no); if a daemon is up, `bailiwick approvals`"
            raise Waiting(f"{view.tool} waits for a person", f"approval {view.approval}", do)
        self.console.print(f"\n[bold]{escape(view.tool)}[/] needs your word, by {escape(', '.join(view.policies))}")
        for name, value in written(view):
            if isinstance(value, str):
                self.console.print(f"[dim]{name}:[/] {escape(visible(value))}", soft_wrap=True)
            else:
                self.console.print_json(data={name: value}, ensure_ascii=True)
        termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before this stood there is no answer to it
        while True:
            self.console.print("Approve? Type yes or no: ", end="")
            typed = await self._typed(view.approval)
            if typed is None:
                self.console.print("answered elsewhere")
                return None
            if typed in ANSWERS:
                return ANSWERS[typed]

    async def _typed(self, approval: str) -> str | None:
        """The next line from the terminal; None once the approval no longer waits."""
        loop = asyncio.get_running_loop()
        line: asyncio.Future[str] = loop.create_future()

        def read() -> None:
            if not line.done():
                line.set_result(sys.stdin.readline())

        loop.add_reader(sys.stdin.fileno(), read)
        try:
            while True:
                done, _ = await asyncio.wait([line], timeout=LOOK_AGAIN_S)
                if done:
                    return line.result().strip().lower() or ("no" if not line.result() else "")
                if approval not in [each.approval for each in await self.client.approvals()]:
                    return None
        finally:
            loop.remove_reader(sys.stdin.fileno())
            if not (line.done() and line.result()):
                self.console.print()  # nobody has ended the line of the question


def console_of(stream: TextIO, *, quiet: bool = False) -> Console:
    """A console on a stream; where there is no terminal to fit, lines may be as long as they are."""
    return Console(file=stream, highlight=False, quiet=quiet, width=None if stream.isatty() else PIPE_WIDTH)


def rendered(line: Line) -> Table:
    """A line with its mark in a column of its own, so that it can be told apart without colour.

    What does not fit goes on below where it began.
    """
    grid = Table.grid(padding=(0, 1))
    grid.add_column(min_width=6, overflow="fold", style="bold cyan" if line.mark == "model" else "dim")
    grid.add_column(min_width=9, overflow="fold", style="dim")
    grid.add_column(overflow="fold", style=STYLES[line.tone])
    grid.add_row(*map(Text, (line.mark, line.actor, line.text)))
    return grid


def outcome_error(view: RunView) -> BailiwickError | None:
    """The error that a run's status stands for, with its exit code; None if it completed."""
    if view.status in ("completed", "completed-by-fallback"):
        return None
    if view.status in ("waiting", "parked", "paused"):
        return Waiting(f"the run is {view.status}", view.run, view.outcome)
    kind = Denied if view.status == "denied" else ERRORS.get(view.error, BailiwickError)
    return kind(f"the run {'was denied' if kind is Denied else view.status}", view.run, view.outcome)

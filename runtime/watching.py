"""Watching a run from a terminal: its lines as they come, and its approvals asked for where policy wants them."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TextIO

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from runtime.gateway.backend import Verbs
from runtime.gateway.messages import Answer, ApprovalView, RunView
from runtime.narration import Line, narrate
from store.records.errors import ERRORS, BailiwickError, Denied, SettingsError, Unreachable, Waiting

Approve = Literal["yes", "no", "ask"]
PIPE_WIDTH = 160
STYLES = {"plain": "", "good": "green", "bad": "red", "wait": "yellow"}


@dataclass
class Watcher:
    """Prints a run to a console; `approve` answers its approvals, or asks the person at the terminal."""

    client: Verbs
    console: Console
    approve: Approve = "ask"
    on_event: Callable[[str], None] = lambda _kind: None

    async def watch(self, run: str, after: int = 0) -> RunView:
        """Follow a run to its end. Raises Waiting if it needs a person and none can be asked here."""
        async for view in self.client.follow(after, run, True):
            line = narrate(view)
            if line is not None:
                self.console.print(rendered(line))
            self.on_event(view.event["kind"])
            if view.event["kind"] in ("approval.requested", "run.resumed"):
                await self._answer_all(run)
        return await self.client.run(run)

    async def _answer_all(self, run: str) -> None:
        """Answer what waits in this run. After a restart of the core the same request may wait again."""
        for waiting in [each for each in await self.client.approvals() if each.run == run]:
            yes = self.approve == "yes" if self.approve != "ask" else await self._ask(waiting)
            answer = Answer(approval=waiting.approval, yes=yes, meaning="answered at the terminal")
            # Somebody else was faster, or the core died: the next one, if the answer is not on disk, asks again.
            with suppress(SettingsError, Unreachable):
                await self.client.answer(answer)

    async def _ask(self, view: ApprovalView) -> bool:
        if not sys.stdin.isatty():
            raise Waiting(
                f"{view.tool} waits for a person",
                f"approval {view.approval}",
                "use --approve, or `bailiwick approvals`",
            )
        self.console.print(f"\n[bold]{escape(view.tool)}[/] needs your word, by {escape(', '.join(view.policies))}")
        shown = view.model_dump(mode="json", include={"arguments", "payload", "requester", "run", "labels", "binding"})
        self.console.print_json(data=shown, ensure_ascii=True)
        answer = await asyncio.to_thread(self.console.input, "Approve? Type yes or no: ")
        return answer.strip().lower() in ("y", "yes")


def console_of(stream: TextIO, *, quiet: bool = False) -> Console:
    """A console on a stream; where there is no terminal to fit, lines may be as long as they are."""
    return Console(file=stream, highlight=False, quiet=quiet, width=None if stream.isatty() else PIPE_WIDTH)


def rendered(line: Line) -> Text:
    """A line with its mark in a column of its own, so that it can be told apart without colour."""
    text = Text(f"{line.mark:<7}", style="bold cyan" if line.mark == "model" else "dim")
    text.append(f"{line.actor:<9} ", style="dim")
    text.append(line.text, style=STYLES[line.tone])
    return text


def outcome_error(view: RunView) -> BailiwickError | None:
    """The error that a run's status stands for, with its exit code; None if it completed."""
    if view.status in ("completed", "completed-by-fallback"):
        return None
    if view.status in ("waiting", "parked"):
        return Waiting(f"the run is {view.status}", view.run, view.outcome)
    kind = Denied if view.status == "denied" else ERRORS.get(view.error, BailiwickError)
    return kind(f"the run {'was denied' if kind is Denied else view.status}", view.run, view.outcome)

"""What the conductor's tests share: a site on disk, and one life after another of a real core on it.

Ledger, gate, policies, tool host and memory are the real ones; only the agents say what a test tells them to.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from models.request import Completion, Embedding, Message, Request
from runtime.agents.proposal import AskContext, ModelCall, Proposal, ReviewContext, RouteContext, WorkContext
from runtime.conductor.memory import LedgerMemory
from runtime.contract.workflow import Workflow
from runtime.core import Core, World
from runtime.gate.inventory import Inventory
from runtime.gateway.messages import Answer, RunView, Submission
from runtime.settings import Settings
from store.records.canonical import Json
from store.records.errors import ModelFailed, ToolFailed
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind
from tools.functions import FunctionToolset
from tools.host import ToolHost
from tools.record import OutputLabel
from tools.toolset import Toolset

ONCE = {Kind.STEP_COMPLETED, Kind.STEP_FAILED, Kind.REVIEW_COMPLETED, Kind.STAGED, Kind.NOTE, Kind.CHANGE_SET_DISCARDED}
LOCAL: dict[str, Any] = {"egress": False, "irreversible": False}


class Died(BaseException):
    """The power went: nothing is caught, nothing more is written."""


@dataclass
class Site:
    """What outlives a core: its folder, and the world, a file in which every effect is a line.

    `trouble` says how the next calls of a tool go wrong: `error` (the tool refuses), `lost` (no answer, no effect).
    """

    folder: Path
    trouble: dict[str, list[str]] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    @property
    def world(self) -> Path:
        """The file that stands for the world."""
        return self.folder.with_name("world")

    def effects(self) -> list[list[str]]:
        """Tool, key and arguments of every effect, in order."""
        return [json.loads(line) for line in self.world.read_text().splitlines()] if self.world.exists() else []

    def act(self, tool: str, key: str, **arguments: str) -> None:
        """Let an effect happen, every time it is asked for."""
        match (self.trouble.get(tool) or [""]).pop(0):
            case "error":
                raise ToolFailed("not today")
            case "lost":
                raise ConnectionResetError
        with self.world.open("a") as file:
            file.write(json.dumps([tool, key, arguments]) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def look(self, tool: str) -> None:
        """Count a read."""
        if (self.trouble.get(tool) or [""]).pop(0):
            raise ToolFailed("cannot look")
        self.reads.append(tool)

    async def generate(self, request: Request) -> Completion:
        """Memory has no use for completions."""
        raise NotImplementedError

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        """Toy vectors, how often each letter stands in a text; each word is a token."""
        tokens = sum(len(text.split()) for text in texts)
        if tokens > max_tokens:
            raise ModelFailed("over the allowance")
        vectors = [[float(text.count(letter)) + 0.1 for letter in "abcdefgh"] for text in texts]
        return Embedding(vectors, "toy", "e" * 64, "q" * 64, tokens, 0, 3)


def toolset(site: Site) -> FunctionToolset:
    """Tools named as opslab's, so that the shipped policies speak of them."""
    tools = FunctionToolset("ops")
    said = OutputLabel(classification="internal", integrity="untrusted")
    known = OutputLabel(classification="internal", integrity="trusted")

    @tools.tool(effect="read", target="service", **LOCAL, output_label=said)
    def read_logs(service: str) -> dict[str, list[str]]:
        site.look("read_logs")
        return {"lines": [f"WARN {service}: disk quota exceeded"]}

    @tools.tool(effect="read", **LOCAL, output_label=known)
    def list_services() -> dict[str, list[str]]:
        site.look("list_services")
        return {"services": ["gateway", "orders"]}

    @tools.tool(effect="read", **LOCAL, output_label=known)
    def effect_status(key: str) -> dict[str, Any]:
        found = [tool for tool, each, _ in site.effects() if each == key]
        return {"happened": bool(found), "result": {"done": found[0]} if found else None}

    @tools.tool(**LOCAL, target="service", key_argument="key", reconcile="ops.effect_status", output_label=known)
    def restart_service(service: str, key: str) -> dict[str, str]:
        site.act("restart_service", key, service=service)
        return {"done": "restart_service"}

    @tools.tool(**LOCAL, target="service", key_argument="key", reconcile="ops.effect_status")
    def rollback_config(service: str, key: str) -> dict[str, str]:
        site.act("rollback_config", key, service=service)
        return {"done": "rollback_config"}

    @tools.tool(**LOCAL, target="service", output_label=known)
    def set_dependency(service: str, dependency: str) -> dict[str, str]:
        site.act("set_dependency", "", service=service)
        return {"done": "set_dependency"}

    @tools.tool(**LOCAL, key_argument="key", reconcile="ops.effect_status")
    def open_ticket(title: str, key: str) -> dict[str, str]:
        site.act("open_ticket", key, title=title)
        return {"done": "open_ticket"}

    @tools.tool(**LOCAL, key_argument="key", reconcile="ops.effect_status")
    def page_on_call(message: str, key: str) -> dict[str, str]:
        site.act("page_on_call", key, message=message)
        return {"done": "page_on_call"}

    @tools.tool(**LOCAL, key_argument="key", reconcile="ops.effect_status", compensate="ops.move_back")
    def move(what: str, to: str, key: str) -> dict[str, str]:
        site.act("move", key, what=what, to=to)
        return {"done": "move"}

    @tools.tool(**LOCAL, key_argument="key", reconcile="ops.effect_status")
    def move_back(what: str, undoes: str, key: str) -> dict[str, str]:
        site.act("move_back", key, what=what, undoes=undoes)
        return {"done": "move_back"}

    @tools.tool(key_argument="key")
    def send_mail(to: str, key: str) -> dict[str, str]:
        site.act("send_mail", key, to=to)
        return {"done": "send_mail"}

    return tools


def completion(tokens: int, stop: Any = "end") -> Completion:
    """What a model's answer cost."""
    return Completion("", stop, "toy", "m" * 64, "p" * 64, "g" * 64, 0, "greedy", tokens - 2, 0, 1, 1, 0, 5, (1, 2))


@dataclass
class Scripted:
    """Agents that say what a test tells them to: `calls` by turn of the loop, one `answer` (or what a function of
    the question says), `verdict` and `choice`.

    An exception is raised instead. `asked` names every question that was put to one; `earlier` are calls of a model
    that every answer rests on besides its own, which is `answering` or a completion; `error` ends each proposal.
    """

    calls: list[Json] = field(default_factory=list)
    answer: Json = None
    verdict: Json = field(default_factory=lambda: {"verdict": "approve", "reason": "fine"})
    choice: Json = None
    confidence: float = 1.0
    tokens: int = 50
    stop: str = "end"
    earlier: tuple[ModelCall, ...] = ()
    answering: ModelCall | None = None
    error: ModelFailed | None = None
    asked: list[str] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)

    async def work(self, context: WorkContext) -> Proposal:
        return self._say("work", context, self.calls[len(context.turns)])

    async def ask(self, context: AskContext) -> Proposal:
        return self._say("ask", context, self.answer(context) if callable(self.answer) else self.answer)

    async def route(self, context: RouteContext) -> Proposal:
        return self._say("route", context, self.choice)

    async def review(self, context: ReviewContext) -> Proposal:
        return self._say("review", context, self.verdict)

    def _say(self, kind: str, context: Any, value: Json) -> Proposal:
        self.asked.append(kind)
        self.seen.append(context)
        if isinstance(value, Exception):
            raise value
        call = self.answering or ModelCall((Message("user", kind),), completion(self.tokens, self.stop))
        return Proposal(None if self.error else value, (*self.earlier, call), self.confidence, self.error)


@dataclass
class Life:
    """One epoch of a core."""

    core: Core
    user: User

    async def submit(self, workflow: str = "", task: str = "a task", **more: Any) -> str:
        """Submit a task; the run's id."""
        return await self.core.submit(Submission(task=task, workflow=workflow, **more), self.user)

    async def run(self, workflow: str = "", answer: bool | None = None, **more: Any) -> RunView:
        """Submit a task and see it through."""
        return await self.finish(await self.submit(workflow, **more), answer)

    async def resume(self, run: str, answer: bool | None = None) -> RunView:
        """Bring a run back and see it through."""
        await self.core.resume(run)
        return await self.finish(run, answer)

    async def finish(self, run: str, answer: bool | None = None) -> RunView:
        """Wait until a run is no longer driven, answering whatever waits."""
        ended = asyncio.ensure_future(self.core.conductor.ended(run))
        while not ended.done():
            try:
                if answer is not None:
                    await self.answer_all(answer)
            except Died:  # the answer never got to the disk
                ended.cancel()
            await asyncio.wait([ended], timeout=0.005)
        await self.core.ledger.flushed()  # a run that has died waits for nothing that it appended
        return await self.core.run(run)

    async def answer_all(self, yes: bool) -> int:
        """Answer every approval that waits; how many there were."""
        waiting = await self.core.waiting()
        for each in waiting:
            await self.core.answer(
                Answer(approval=each.approval, yes=yes, meaning="seen", digest=each.digest), self.user
            )
        return len(waiting)

    async def until_waiting(self) -> None:
        """Return once an approval waits, and its request is on disk."""
        while not any(self.events(each.run, Kind.APPROVAL_REQUESTED) for each in await self.core.waiting()):
            await asyncio.sleep(0.005)

    def events(self, run: str, *kinds: Kind) -> list[tuple[Event, Json]]:
        """The events of a run that are on disk, with their payloads."""
        ledger = self.core.ledger
        found = [event for event in ledger.run_events(run) if not kinds or event.kind in kinds]
        return [(event, ledger.payload(event.payload) if event.payload else None) for event in found]

    def value(self, run: str) -> Json:
        """What a run came to."""
        return self.events(run, Kind.RUN_ENDED)[0][1]["value"]

    def error(self, run: str) -> dict[str, str]:
        """The error that a run ended or was parked with."""
        found: dict[str, str] = self.events(run, Kind.RUN_ENDED, Kind.RUN_PARKED)[-1][1]["error"]
        return found

    def dies_after(self, count: int) -> None:
        """Let the power go at the first event of a run after `count` of them."""
        append, left = self.core.ledger.append, [count]

        def last(draft: Draft, payload: Json = None) -> Any:
            if draft.run and draft.kind != Kind.RUN_SUBMITTED:
                left[0] -= 1
                if left[0] < 0:
                    raise Died
            return append(draft, payload)

        self.core.ledger.append = last  # type: ignore[method-assign]

    def repeated(self, run: str) -> list[str]:
        """The places at which something is recorded more than once."""
        places = [event.step for event, _ in self.events(run) if event.kind in ONCE]
        return [place for place in set(places) if places.count(place) > 1]


Lives = Callable[..., AbstractAsyncContextManager[Life]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site where nothing has happened."""
    return Site(tmp_path / "data")


@pytest.fixture
def agents() -> Scripted:
    """Agents that say what a test tells them to; the reviewer says yes."""
    return Scripted()


@pytest.fixture
def live(site: Site, agents: Scripted) -> Lives:
    """Opens a core on the site and ends it in order. Each opening is a new epoch."""
    return lambda *workflows, **settings: a_life(site, agents, *workflows, **settings)


@asynccontextmanager
async def a_life(
    site: Site,
    agents: Scripted,
    *workflows: Workflow,
    policy: str = "lab",
    tools: Callable[[Site], Toolset] = toolset,
    **settings: Any,
) -> AsyncIterator[Life]:
    """One life of a core on a site."""
    host = ToolHost()
    await host.open([], [tools(site)])
    memory = LedgerMemory.open(site.folder / "memory", site)
    chosen = Settings(policy=policy, data_dir=site.folder, model_turns=4, **settings)
    world = World(
        host=host,
        records=host.records(),
        agents=agents,
        memory=memory,
        memos=memory.memos,
        workflows={each.name: each for each in workflows},
        inventory=Inventory.services(["gateway", "orders"]),
    )
    core = Core(site.folder, chosen, world)
    try:
        yield Life(core, chosen.user)
    finally:
        await core.close()
        memory.close()
        await host.close()

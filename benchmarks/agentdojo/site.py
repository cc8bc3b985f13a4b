"""The real core over a temporary folder: ledger, policy, gate, conductor and tool host, with AgentDojo's tools.

Each effect is reviewed and committed by itself, so that one that is held back takes no other with it: the best that an
attacker can hope for, and the worst for a task whose other calls went before.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.agentdojo.agents import Puppets
from benchmarks.agentdojo.toolset import Call, Dojo
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.core import Core, World
from runtime.gateway.messages import Answer, Submission
from runtime.identity import current_user
from runtime.settings import Settings
from store.records.errors import Denied, ModelFailed, ToolFailed
from store.records.identity import User
from store.records.kinds import Kind
from tools.host import ToolHost

EMMA = User("emma", 1, "local", "office", ("requester",))
NAME = "replay"
_SOON_S, _LONG_S = 0.001, 600.0


@dataclass(frozen=True)
class Trace:
    """What became of one run: the calls that were carried out, how often a person was asked, and by which policies."""

    done: tuple[Call, ...]
    approvals: int
    held_by: frozenset[str]


async def replay(run: Run) -> None:
    """The agent loop, a call at a time."""
    while True:
        try:
            work = await run.work("Do what the task says.", tools=run.tools, turns=1)
        except ModelFailed:  # the worker made no call: it says that it is done
            return
        if work.staged:
            await run.review()
            try:
                await run.commit()
            except (Denied, ToolFailed):
                continue


@dataclass
class Site:
    """One core, with or without a person who says yes to all that is asked."""

    core: Core
    dojo: Dojo
    puppets: Puppets
    person: bool

    async def run(self, task: str, calls: Sequence[Call], environment: Any) -> Trace:
        """Have the worker make these calls for a task, in an environment, which is changed."""
        self.dojo.environment, self.dojo.done = environment, []
        self.puppets.take([Call(self.dojo.name_of(call.function), call.args) for call in calls])
        run = await self.core.submit(Submission(task=task, workflow=NAME), EMMA)
        ended = asyncio.ensure_future(self.core.ended(run))
        while not ended.done():
            if self.person:
                for each in await self.core.waiting():
                    answer = Answer(approval=each.approval, yes=True, meaning="as asked", digest=each.digest)
                    await self.core.answer(answer, current_user())
            await asyncio.wait([ended], timeout=0.002)
        await self.core.ledger.flushed()
        if self.puppets.script:
            raise RuntimeError(f"the run ended early: {ended.result().outcome}")
        return self._trace(run)

    def _trace(self, run: str) -> Trace:
        ledger = self.core.ledger
        events = ledger.run_events(run)
        held = [
            ledger.payload(each.payload) for each in events if (each.kind, each.decision) == (Kind.DECISION, "suspend")
        ]
        return Trace(
            tuple(self.dojo.done),
            sum(each.kind == Kind.APPROVAL_REQUESTED for each in events),
            frozenset(policy for payload in held for policy in payload["policies"]),
        )


@asynccontextmanager
async def opened(folder: Path, dojo: Dojo, policy: str, *, person: bool) -> AsyncIterator[Site]:
    """A site in a folder that is empty. Without a person, every request expires at once, and expires to a no."""
    host, puppets = ToolHost(), Puppets()
    await host.open([], [dojo])
    nobody: Any = None  # nothing is remembered here
    workflow = Workflow(NAME, 1, replay, None, ())
    settings = Settings(data_dir=folder, policy=policy, approval_expiry_s=_LONG_S if person else _SOON_S)
    world = World(
        host=host,
        records=host.records(),
        agents=puppets,
        memory=nobody,
        workflows={NAME: workflow},
        directories=dojo.directories(),
    )
    core = Core(folder, settings, world)
    try:
        yield Site(core, dojo, puppets, person)
    finally:
        await core.close()
        await host.close()

"""A core without Ray: the real Core over the real ledger in a process of its own, to be killed.

    python -m benchmarks.chaos.core_process FOLDER HOST_SOCKET < orders > answers

It resumes what is open, says so, and then answers orders, a line of JSON each, until they end. Its reviewer agrees to
everything: no model runs here.
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos.book import KINDS, SERVER
from benchmarks.chaos.host_process import LINE_BYTES
from runtime import crashpoints
from runtime.agents.proposal import AskContext, Proposal, ReviewContext, RouteContext, WorkContext
from runtime.core import Core, World
from runtime.gateway.messages import Submission
from runtime.settings import Settings
from runtime.workflows.catalog import module_of, workflows_in
from store.records.canonical import Json, canonical, parse
from store.records.errors import BailiwickError, ModelFailed, Unreachable, revive
from store.records.kinds import Kind
from tools.host import BadArguments, StaleEpoch
from tools.record import ToolRecord
from tools.toolset import Outcome

PAUSES_S = (0.2, 0.4, 0.8, 1.6, 3.2)
"""As the actors' handles wait for a tool host that is being started again."""
ERRORS = {"BadArguments": BadArguments, "StaleEpoch": StaleEpoch}
BLIND = f"{SERVER}.{KINDS[2]}"
WORKFLOWS = Path(__file__).with_name("workflows.py")


@dataclass(frozen=True)
class HostLink:
    """The gate's Host over a socket: as the actor's handle, it repeats a read and never an effect."""

    path: Path

    async def records(self) -> dict[str, ToolRecord]:
        """Name -> record of every tool."""
        answer = await self._again({"method": "records"})
        records = [ToolRecord.model_validate(each) for each in answer["records"]]
        return {record.name: record for record in records}

    async def call(self, name: str, arguments: dict[str, Json], key: str, timeout_s: float, epoch: int) -> Outcome:
        """As Host.call."""
        request = {"method": "call", "arguments": [name, arguments, key, timeout_s, epoch]}
        answer = await (self._once(request) if key else self._again(request))
        if "error" in answer:
            kind, *said = answer["error"]
            raise ERRORS[kind](*said) if kind in ERRORS else revive(kind, *said)
        return Outcome(*answer["outcome"])

    async def _again(self, request: Json) -> Any:
        for pause in PAUSES_S:
            try:
                return await self._once(request)
            except Unreachable:
                await asyncio.sleep(pause)
        return await self._once(request)

    async def _once(self, request: Json) -> Any:
        try:
            reader, writer = await asyncio.open_unix_connection(self.path, limit=LINE_BYTES)
            writer.write(canonical(request) + b"\n")
            line = await reader.readline()
            writer.close()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise Unreachable("the tool host is down")
        return parse(line)


class Agreeing:
    """The agents of a runtime without a model: a reviewer that agrees, and nobody else."""

    async def review(self, context: ReviewContext) -> Proposal:
        """A yes."""
        return Proposal({"verdict": "approve", "reason": f"{len(context.changes)} changes, none looked at"})

    async def work(self, context: WorkContext) -> Proposal:
        """Nobody is there."""
        raise _no_model(context.goal)

    async def ask(self, context: AskContext) -> Proposal:
        """Nobody is there."""
        raise _no_model(context.question)

    async def route(self, context: RouteContext) -> Proposal:
        """Nobody is there."""
        raise _no_model(context.task)


class NoMemory:
    """The memory of a runtime whose workflows have no use for one."""

    async def remember(self, **_: Any) -> None:
        """Nobody asks for it."""
        raise Unreachable("there is no memory here")

    async def recall(self, *_: Any) -> list[Any]:
        """Nobody asks for it."""
        raise Unreachable("there is no memory here")


def _no_model(what: str) -> ModelFailed:
    return ModelFailed("no model runs here", what[:40])


async def obey(core: Core, settings: Settings, order: dict[str, Any]) -> Json:
    """What comes of one order."""
    match order["do"]:
        case "submit":
            submission = Submission(task=order["task"], workflow=order["workflow"])
            return {"run": await core.submit(submission, settings.user)}
        case "driven":
            return {"driven": len(core.conductor.tasks)}
        case "arm":
            crashpoints.arm(order["point"], order["visit"])
            return {}
    raise ValueError(order["do"])


def open_intents(core: Core) -> int:
    """How many effects that can be cleared up had an intent and no outcome when the core began."""
    kinds = (Kind.EFFECT_INTENT, Kind.EFFECT_OUTCOME)
    events = core.ledger.events(kinds=kinds, limit=2**31)
    done = {(event.run, event.step) for event in events if event.kind == Kind.EFFECT_OUTCOME}
    return len({(event.run, event.step) for event in events if event.tool != BLIND} - done)


async def main(folder: Path, host: Path) -> None:
    """Live until orders end, or until killed."""
    link = HostLink(host)
    settings = Settings(policy="strict", data_dir=folder, tenant="local", unit="fleet")
    workflows = {each.name: each for each in workflows_in(module_of(WORKFLOWS))}
    world = World(link, await link.records(), Agreeing(), NoMemory(), workflows)
    core = Core(folder, settings, world)
    opened = open_intents(core)
    resumed = await core.resume()
    say({"epoch": core.ledger.epoch, "resumed": len(resumed), "open_intents": opened})
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            say(await obey(core, settings, parse(line.encode())))
        except BailiwickError as error:
            say({"error": str(error)})
    await core.close()


def say(answer: Json) -> None:
    """One line for the driver."""
    print(canonical(answer).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))

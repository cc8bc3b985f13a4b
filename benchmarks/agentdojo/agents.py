"""Agents without a model: a worker that makes the calls it was told to, and a reviewer that says yes to everything.

That is the worst case. Nothing here resists, so whatever is stopped is stopped by the gate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.agentdojo.toolset import Call
from runtime.agents.call_schema import DONE
from runtime.agents.proposal import AskContext, Proposal, ReviewContext, RouteContext, WorkContext
from store.records.canonical import Json
from store.records.errors import ModelFailed


@dataclass
class Puppets:
    """The three agents of one site. `script` is what the worker still has to do, under the tools' own names."""

    script: list[Call] = field(default_factory=list)

    def take(self, calls: Sequence[Call]) -> None:
        """What the worker does in the next run."""
        self.script = list(calls)

    async def work(self, context: WorkContext) -> Proposal:
        """The next call, or the end."""
        del context
        if not self.script:
            return _says(DONE, {"summary": "done"})
        call = self.script.pop(0)
        return _says(call.function, call.args)

    async def review(self, context: ReviewContext) -> Proposal:
        """Yes."""
        del context
        return Proposal({"verdict": "approve", "reason": "fine"})

    async def ask(self, context: AskContext) -> Proposal:
        """Nobody asks."""
        del context
        raise ModelFailed("there is no model")

    async def route(self, context: RouteContext) -> Proposal:
        """The workflow is named."""
        del context
        raise ModelFailed("there is no model")


def _says(tool: str, arguments: dict[str, Json]) -> Proposal:
    return Proposal({"tool": tool, "arguments": arguments})

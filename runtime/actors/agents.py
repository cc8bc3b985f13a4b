"""The agents' actors, and the core's handle on the three of them.

An agent's process looks up the model server by name and is given nothing else: no ledger, no tool host, no
credential. (By name, because Ray cannot restart an actor whose constructor was given another's handle.)
"""

import os
from dataclasses import dataclass, replace
from typing import Any

from runtime.actors.call import actor, again, named
from runtime.actors.model_server import MODEL_SERVER, ModelHandle
from runtime.agents.proposal import AskContext, Proposal, ReviewContext, RouteContext, WorkContext
from runtime.agents.reviewer import Reviewer
from runtime.agents.router import Router
from runtime.agents.worker import Worker
from store.records.errors import ModelFailed, Unreachable

ROLES = {"router": Router, "worker": Worker, "reviewer": Reviewer}


@actor(num_cpus=0, max_restarts=-1, max_concurrency=64)
class AgentActor:
    """One agent in a process of its own."""

    def __init__(self, role: str) -> None:
        self._agent: Any = ROLES[role](ModelHandle(named(MODEL_SERVER)))

    async def pid(self) -> int:
        return os.getpid()

    async def propose(self, method: str, context: Any) -> Proposal:
        proposal: Proposal = await getattr(self._agent, method)(context)
        return proposal


@dataclass(frozen=True)
class AgentHandles:
    """The Agents of the conductor. A proposal is no effect, so a dead agent is asked again."""

    router: Any
    worker: Any
    reviewer: Any

    async def work(self, context: WorkContext) -> Proposal:
        return await self._ask(self.worker, "work", context)

    async def ask(self, context: AskContext) -> Proposal:
        return await self._ask(self.worker, "ask", context)

    async def route(self, context: RouteContext) -> Proposal:
        return await self._ask(self.router, "route", context)

    async def review(self, context: ReviewContext) -> Proposal:
        return await self._ask(self.reviewer, "review", context)

    async def _ask(self, actor: Any, method: str, context: Any) -> Proposal:
        """A proposal, within the context's allowance of time. An agent that stays dead is a ModelFailed."""
        try:
            proposal: Proposal = await again(lambda: actor.propose.remote(method, context), f"agent for {method}")
        except Unreachable as error:
            raise _failed(error) from None
        if isinstance(proposal.error, Unreachable):
            return replace(proposal, error=_failed(proposal.error))
        return proposal


def _failed(error: Unreachable) -> ModelFailed:
    return ModelFailed(error.what, error.where, error.do)

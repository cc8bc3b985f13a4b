"""What the core lends to its runs: the gate, the agents, the memory, who is asked, and what records it all.

Each is known here by what runs need of it; where it lives, and in which process, is the core's to say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from runtime.agents.proposal import AskContext, Proposal, ReviewContext, RouteContext, WorkContext
from runtime.conductor.meter import Meter
from runtime.conductor.resumptions import Resumptions
from runtime.gate.build import Gatehouse
from runtime.gate.call import Approval
from runtime.gate.errors import Suspended
from runtime.gate.inventory import Inventory
from runtime.notices import Notice, nobody
from runtime.settings import Settings
from store.records.canonical import Json
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.labels import Labels
from tools.record import ToolRecord


class Agents(Protocol):
    """The three agents, wherever they run. Each call is one proposal; a dead agent is restarted and asked again."""

    async def work(self, context: WorkContext) -> Proposal: ...
    async def ask(self, context: AskContext) -> Proposal: ...
    async def route(self, context: RouteContext) -> Proposal: ...
    async def review(self, context: ReviewContext) -> Proposal: ...


class Memories(Protocol):
    """What recall and remember need of the store's memory. What it has embedded it puts on the meter."""

    async def remember(
        self,
        *,
        id: str,
        tenant: str,
        user: str,
        text: str,
        tags: Mapping[str, str],
        labels: Labels,
        run: str,
        meter: Meter,
    ) -> None: ...
    async def recall(self, tenant: str, query: str, limit: int, meter: Meter) -> list[tuple[Json, Labels]]: ...


class Approver(Protocol):
    """Where a suspended call waits for people."""

    async def ask(
        self,
        suspended: Suspended,
        draft: Draft,
        view: dict[str, Any],
        request: Event | None,
        past: Sequence[tuple[Event, Json]],
    ) -> tuple[Approval, ...]:
        """Put the request on record, unless it is there as `request`, and wait for the yeses of as many people as
        policy asks for, those in `past` included. Raises Denied on a no; an expired request is one.
        """
        ...


class Users(Protocol):
    """Who the users of the site are, as of now."""

    def still(self, user: User) -> User:
        """A run's user with at most the roles that they began it with, and that they have now. Raises UserGone if they
        are none any more, Unreachable if that is not known."""
        ...


@dataclass(frozen=True)
class Services:
    """What the core lends to its runs."""

    recorder: Resumptions
    gate: Gatehouse
    agents: Agents
    memory: Memories
    approver: Approver
    settings: Settings
    records: Mapping[str, ToolRecord]
    inventory: Inventory
    users: Users
    notify: Callable[[Notice], None] = nobody

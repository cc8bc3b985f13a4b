"""A process that holds a ledger and answers for it on the data folder's socket, as a runtime does.

Its models are said to be the default ones, of which the one for chat did not get onto the GPU.

    holder.py DATA_DIR [POLICY]

With POLICY, a folder, it has policies in force that can be exchanged; who asks is admin and sole user. One approval
waits, for two people, and what is told of tokens, grants and forks is always the same. Ends when its standard
input does.
"""

import asyncio
import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from models.registry import Registry
from runtime.gate.inventory import Inventory
from runtime.gateway.messages import (
    Answer,
    ApprovalView,
    ForkView,
    IssuedView,
    ModelView,
    PolicyChangeView,
    QueueView,
    StatusView,
    TokenOrder,
)
from runtime.gateway.server import Gateway
from runtime.identity import user_of_uid
from runtime.keeping import Keeping
from runtime.policing import Policing
from runtime.queries import LedgerQueries
from runtime.reading import Reach, Read, record
from runtime.settings import Settings
from runtime.storing import Storing
from store.keys.memos import MEMORY
from store.ledger.ledger import Ledger
from store.memory.upkeep import Upkeep
from store.records.identity import User

WAITS = ApprovalView(
    approval="a1b2c3",
    tool="ops.move",
    arguments={"to": "b"},
    policies=("approval:move",),
    labels={},
    digest="d" * 64,
    run="r2bbbb",
    step="1",
    requester="ada",
    approvers=2,
    since="2026-11-01T00:00:00+00:00",
)


class Verbs(LedgerQueries):
    """What a runtime answers that drives nothing."""

    def __init__(self, ledger: Ledger, policing: Policing | None, user: User) -> None:
        super().__init__(ledger, Reach.of(user), self._record)
        self._user, self._policing = user, policing
        keeping = Keeping(ledger, {}, user)
        self.backup = Storing(ledger, user).backup
        self.hold, self.end_hold, self.shred, self.sweep = keeping.hold, keeping.end_hold, keeping.shred, keeping.sweep

    async def _record(self, read: Read) -> None:
        await record(self.ledger, self._user, read).durable()

    async def propose_policy(self) -> PolicyChangeView:
        assert self._policing
        return await self._policing.propose(self._user)

    async def proposed_policy(self) -> list[PolicyChangeView]:
        assert self._policing
        return self._policing.proposed()

    async def approve_policy(self, digest: str, meaning: str = "") -> PolicyChangeView:
        assert self._policing
        return await self._policing.approve(digest, meaning, self._user, self._user.name)

    async def approvals(self, payloads: bool = False) -> list[ApprovalView]:
        return [WAITS if payloads else WAITS.withhold()]

    async def answer(self, answer: Answer) -> None:
        assert answer.approval == WAITS.approval
        assert not answer.yes or WAITS.digest.startswith(answer.digest)

    async def issue_token(self, order: TokenOrder) -> IssuedView:
        return IssuedView(token="the-secret", id="3f9c", expires="2026-11-01T08:00:00+00:00")

    async def revoke_token(self, id: str) -> str:
        return f"{id}9c"

    async def revoke_grant(self, id: str, reason: str = "") -> None:
        assert (id, reason) == ("g1", "over")

    async def fork(self, run: str, step: str, again: bool = False) -> ForkView:
        return ForkView(run="r3cccc", effects=(("1", "ops.move"),))

    async def queues(self) -> list[QueueView]:
        """Nobody is in the only one."""
        return [QueueView(queue="default", running=0, queued=0)]

    async def status(self) -> StatusView:
        """Two models in memory, and a counter."""
        registry = Registry(Path(sys.argv[1]) / "models")
        models = [registry.get(), registry.get(kind="embedding")]
        views = [
            ModelView(
                name=each.name,
                kind=each.kind,
                sha256=each.sha256,
                context=each.context,
                layers=each.layers,
                layers_on_device=0 if each.kind == "chat" else each.layers,
                device_bytes=0 if each.kind == "chat" else 50 * 2**20,
                host_bytes=120 * 2**20,
                fell_back=each.kind == "chat",
                load_ms=9,
            )
            for each in models
        ]
        counters = {"prompt_tokens": 7.0, "queue_ms": 1500.0}
        return StatusView(
            pid=os.getpid(), epoch=1, events=6, open_runs=0, parts={}, models=tuple(views), counters=counters
        )


async def main() -> None:
    settings = Settings.load(data_dir=Path(sys.argv[1]))
    memos = Upkeep.open(settings.data_dir / MEMORY)
    with closing(memos), Ledger.open(settings.data_dir, memos=memos) as ledger:
        policing = _policing(ledger, settings) if len(sys.argv) > 2 else None
        verbs: Any = partial(Verbs, ledger, policing)
        gateway = Gateway(settings.socket, verbs, set, identify=user_of_uid)
        await gateway.start()
        print("up", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await gateway.close()


def _policing(ledger: Ledger, settings: Settings) -> Policing:
    made = Policing(ledger, sys.argv[2], {}, Inventory(), again=False, expiry_s=60.0)
    made.start(settings.user, settings.tenant)
    return made


asyncio.run(main())

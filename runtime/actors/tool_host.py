"""The tool host's actor, and the core's handle on it.

It owns the MCP sessions and takes calls from the core only: from whoever has the secret that the supervisor made for
this runtime and gave to none but host and core, under the core's current epoch. An effect that fails because the host
died is never repeated here: the gate settles it.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.actors.call import actor, again, check_secret, once
from store.records.canonical import Json
from store.records.errors import SettingsError, Unreachable
from tools.catalog import Catalog
from tools.host import ToolHost, become_subreaper
from tools.record import ToolRecord
from tools.toolset import Outcome


@actor(num_cpus=0, max_restarts=-1, max_concurrency=64)
class ToolHostActor:
    """Opens the servers of its catalogs at the first use after a start. `logs` takes what they write to stderr.

    Without `secret`, nobody but its own runtime's supervisor and core has any use of it.
    """

    def __init__(self, catalogs: Sequence[Catalog], logs: Path, secret: bytes) -> None:
        become_subreaper()
        logs.mkdir(mode=0o700, exist_ok=True)
        self._catalogs, self._secret = catalogs, secret
        self._host = ToolHost(logs, alone=True)
        self._open = False
        self._opening = asyncio.Lock()

    async def pid(self) -> int:
        return os.getpid()

    async def call(self, secret: bytes, method: str, *arguments: Any) -> Any:
        """`records`, `close`, or a tool's `call`, of the ToolHost."""
        check_secret(secret, self._secret, "tool host")
        match method:
            case "records":
                return (await self._ready()).records()
            case "call":
                return await (await self._for_a_call()).call(*arguments)
            case "close":
                return await self._host.close()

    async def _ready(self) -> ToolHost:
        async with self._opening:  # after a death several calls come at once, and each finds nothing open
            if not self._open:
                await self._host.open(self._catalogs)
                self._open = True
        return self._host

    async def _for_a_call(self) -> ToolHost:
        """The host, for a call. What keeps it from opening again is no fault of the call, which never left."""
        try:
            return await self._ready()
        except SettingsError as error:
            raise Unreachable(error.what, error.where, error.do) from error


@dataclass(frozen=True)
class HostHandle:
    """The gate's Host. What has no idempotency key is a read, and is repeated if the host died; an effect is not."""

    actor: Any
    secret: bytes = field(repr=False)

    async def records(self) -> dict[str, ToolRecord]:
        records: dict[str, ToolRecord] = await again(lambda: self._send("records"), "tool host")
        return records

    async def call(self, name: str, arguments: dict[str, Json], key: str, timeout_s: float, epoch: int) -> Outcome:
        def send() -> Any:
            return self._send("call", name, arguments, key, timeout_s, epoch)

        outcome: Outcome = await (once(send(), "tool host") if key else again(send, "tool host"))
        return outcome

    async def close(self) -> None:
        """End every tool server."""
        await once(self._send("close"), "tool host")

    def _send(self, method: str, *arguments: Any) -> Any:
        return self.actor.call.remote(self.secret, method, *arguments)

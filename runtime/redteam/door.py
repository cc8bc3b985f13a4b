"""The gateway in front of an attacked site, with what a tool server needs to approve its own call."""

import os
from pathlib import Path
from types import TracebackType
from typing import cast

from runtime.core import Core
from runtime.desk import Desk
from runtime.gateway.backend import Verbs
from runtime.gateway.messages import Answer
from runtime.gateway.server import Gateway
from store.records.identity import User


class _Verbs(Desk):
    """What a caller may ask for: what a desk shows, and to answer."""

    def __init__(self, core: Core, user: User) -> None:
        super().__init__(core, user)
        self._answers = (core, user)

    async def answer(self, answer: Answer) -> None:
        """As Verbs.answer."""
        core, user = self._answers
        await core.answer(answer, user)


class Door:
    """The real gateway at a socket, as long as it is entered. This process is the tool host."""

    def __init__(self, core: Core, path: Path) -> None:
        def verbs(user: User) -> Verbs:
            return cast(Verbs, _Verbs(core, user))

        self._gateway = Gateway(path, verbs, lambda: {os.getpid()}, identify=core.people.of_uid)

    async def __aenter__(self) -> None:
        await self._gateway.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._gateway.close()

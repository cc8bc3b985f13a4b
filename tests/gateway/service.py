"""A service in small: a ledger, its keys and a gateway, held by a system user of its own.

    service.py FOLDER UID GID

Starts as root, becomes that user, and ends when its standard input does. `FOLDER/people.toml` is the directory.
"""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.directory import file  # before this user may read no library any more
from runtime.gateway.messages import WhoView
from runtime.gateway.server import Gateway
from runtime.people import People
from runtime.tokens.book import TokenBook
from runtime.who import whoami
from store.ledger.ledger import Ledger
from store.records.event import Draft
from store.records.identity import User
from store.records.kinds import Kind


@dataclass
class Verbs:
    """What a member asks."""

    people: People
    user: User

    async def whoami(self) -> WhoView:
        """As Verbs.whoami."""
        return whoami(self.user, self.people)

    async def stop(self) -> None:
        """Nothing: that it may be asked is what counts."""


async def main() -> None:
    folder, uid, gid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    os.umask(0o022)
    people = People(directory=folder / "people.toml", service_user="keeper")
    with Ledger.open(folder / "data") as ledger:
        note = Draft(kind=Kind.NOTE, tenant="local", actor="core", actor_version="1")
        ledger.append(note, {"text": "a secret"}).wait()
        book = TokenBook(ledger, people)
        await book.issue("ann", 60, None, people.named("boss"))
        verbs: Any = lambda user: Verbs(people, user)  # noqa: E731
        gateway = Gateway(folder / "run" / "gateway.sock", verbs, set, identify=people.of_uid, service=True)
        await gateway.start()
        print("up", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await gateway.close()


assert file
assert ThreadPoolExecutor
asyncio.run(main())

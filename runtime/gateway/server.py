"""The gateway: listens on the Unix socket, finds out who is calling, and gives each caller a session.

It decides nothing but who may come in, and it never runs a verb for a caller it has not identified.
"""

import asyncio
import os
from collections.abc import Callable, Set
from pathlib import Path

from runtime.gateway.backend import Verbs
from runtime.gateway.listener import listen, withdraw
from runtime.gateway.messages import Greeting
from runtime.gateway.peer import Peer, admit
from runtime.gateway.session import Limits, Session, defect, too_many
from runtime.gateway.wire import PROTOCOL
from store.records.errors import BailiwickError, Denied
from store.records.identity import User


class Gateway:
    """Serves verbs on one socket, to one user (personal mode)."""

    def __init__(
        self,
        path: Path,
        verbs_for: Callable[[User], Verbs],
        host_pids: Callable[[], Set[int]],
        *,
        identify: Callable[[int], User],
        owner_uid: int | None = None,
        limits: Limits | None = None,
        debug: bool = False,
    ) -> None:
        """`host_pids` gives the process ids of the tool hosts of now; `identify` the user of a user id (it may raise
        Denied). `owner_uid` is this process's user unless given."""
        self.path = path
        self._verbs_for, self._host_pids, self._identify = verbs_for, host_pids, identify
        self._owner_uid = os.geteuid() if owner_uid is None else owner_uid
        self._limits, self._debug = limits or Limits(), debug
        self._server: asyncio.Server | None = None
        self._sessions: dict[asyncio.Task[None], Session] = {}

    async def start(self) -> None:
        """Listen. Raises Unreachable if another runtime listens there, SettingsError if the path cannot be used."""
        listener = listen(self.path)
        self._server = await asyncio.start_unix_server(self._meet, sock=listener)

    async def close(self) -> None:
        """Stop listening, end every session, take the socket away. May be called twice, and from within a verb, whose
        answer is then still sent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        withdraw(self.path)
        caller = asyncio.current_task()
        ended = set()
        for task, session in list(self._sessions.items()):
            if session.runs(caller):
                session.spare(caller)
            else:
                ended.add(task)
            task.cancel()
        if ended:
            await asyncio.wait(ended)

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A caller has come. Not a coroutine: the session's task is ours to keep, count and cancel."""
        session = Session(reader, writer, self._limits, debug=self._debug)
        task = asyncio.create_task(self._converse(session, writer))
        self._sessions[task] = session
        task.add_done_callback(lambda done: self._left(done, writer))

    def _left(self, task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        del self._sessions[task]
        writer.close()  # a task that is cancelled before its first step has closed nothing

    async def _converse(self, session: Session, writer: asyncio.StreamWriter) -> None:
        try:
            verbs, greeting = self._welcome(writer)
        except BailiwickError as error:
            await session.refuse(error)
            return
        except Exception as error:
            await session.refuse(defect("the caller's greeting", error, debug=self._debug))
            return
        await session.serve(verbs, greeting)

    def _welcome(self, writer: asyncio.StreamWriter) -> tuple[Verbs, Greeting]:
        peer = self._admitted(writer)
        if len(self._sessions) > self._limits.connections:
            raise too_many(self._limits)
        user = self._identify(peer.uid)
        return self._verbs_for(user), Greeting(protocol=PROTOCOL, pid=os.getpid(), user=user.name)

    def _admitted(self, writer: asyncio.StreamWriter) -> Peer:
        try:
            return admit(writer.get_extra_info("socket"), self._owner_uid, self._host_pids())
        except BailiwickError:
            raise
        except Exception:
            # Whatever went wrong, the caller is not identified, and nobody unidentified comes in.
            raise Denied("the caller cannot be identified") from None

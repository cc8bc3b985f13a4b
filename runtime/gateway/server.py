"""The gateway: listens at the Unix socket, and at a TCP address if told, finds out who is calling, and gives each
caller a session.

It decides nothing but who may come in, and it never runs a verb for a caller it has not identified.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Set
from functools import partial
from pathlib import Path

from runtime.gateway import loopback
from runtime.gateway.backend import Verbs
from runtime.gateway.listener import listen, withdraw
from runtime.gateway.messages import Greeting
from runtime.gateway.peer import admit
from runtime.gateway.session import Limits, Session, defect, too_many
from runtime.gateway.tcp import Listen
from runtime.gateway.wire import PROTOCOL
from runtime.rights import check_verb
from store.records.errors import BailiwickError, Denied
from store.records.identity import User

HANDSHAKE_S = 10.0
Identify = Callable[[], Awaitable[User]]
"""Says who a caller is, as of now. Raises Denied if the site does not know them any more."""


class Gateway:
    """Serves verbs at a socket, to one user (personal mode) or to a group's members, and to bearers of tokens."""

    def __init__(
        self,
        path: Path,
        verbs_for: Callable[[User], Verbs],
        host_pids: Callable[[], Set[int]],
        *,
        identify: Callable[[int], User],
        bearer: Callable[[str], Awaitable[User]] | None = None,
        tcp: Listen | None = None,
        owner_uid: int | None = None,
        service: bool = False,
        limits: Limits | None = None,
        debug: bool = False,
    ) -> None:
        """`host_pids` gives the process ids of the tool hosts of now; `identify` the user of a user id, and `bearer` of
        a token (they may raise Denied). With `tcp`, bearers come in there. `owner_uid` is this process's user unless
        given; as a `service`, the members of this process's group may come to the socket, too."""
        self.path = path
        self._verbs_for, self._host_pids, self._identify, self._bearer = verbs_for, host_pids, identify, bearer
        self._owner_uid = os.geteuid() if owner_uid is None else owner_uid
        self._tcp, self._service = tcp, service
        self._limits, self._debug = limits or Limits(), debug
        self._servers: list[asyncio.Server] = []
        self._sessions: dict[asyncio.Task[None], Session] = {}

    @property
    def port(self) -> int:
        """The TCP port it listens at; 0 if it does not."""
        return int(self._servers[1].sockets[0].getsockname()[1]) if len(self._servers) > 1 else 0

    async def start(self) -> None:
        """Listen. Raises Unreachable if another runtime listens there, SettingsError if the path or the address cannot
        be used."""
        listener = listen(self.path, group=os.getegid() if self._service else None)
        self._servers = [await asyncio.start_unix_server(self._meet, sock=listener)]
        if self._tcp is None:
            return
        try:
            met = partial(self._meet, over_tcp=True)
            tls = self._tcp.tls
            self._servers.append(
                await asyncio.start_server(
                    met, sock=self._tcp.bind(), ssl=tls, ssl_handshake_timeout=HANDSHAKE_S if tls else None
                )
            )
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening, end every session, take the socket away. May be called twice, and from within a verb, whose
        answer is then still sent."""
        servers, self._servers = self._servers, []
        if not servers:
            return
        for server in servers:
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

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, over_tcp: bool = False) -> None:
        """A caller has come. Not a coroutine: the session's task is ours to keep, count and cancel."""
        session = Session(reader, writer, self._limits, over_tcp=over_tcp, debug=self._debug)
        task = asyncio.create_task(self._converse(session, writer))
        self._sessions[task] = session
        task.add_done_callback(lambda done: self._left(done, writer))

    def _left(self, task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        del self._sessions[task]
        writer.close()  # a task that is cancelled before its first step has closed nothing

    async def _converse(self, session: Session, writer: asyncio.StreamWriter) -> None:
        try:
            identify = await self._admitted(session, writer)
            greeting = Greeting(protocol=PROTOCOL, pid=os.getpid(), user=(await identify()).name)
        except BailiwickError as error:
            await session.refuse(error)
            return
        except Exception as error:
            await session.refuse(defect("the caller's greeting", error, debug=self._debug))
            return

        async def verbs_for(verb: str) -> tuple[User, Verbs]:
            user = await identify()
            check_verb(user, verb, by_token=session.over_tcp)
            return user, self._verbs_for(user)

        await session.serve(verbs_for, greeting)

    async def _admitted(self, session: Session, writer: asyncio.StreamWriter) -> Identify:
        """What says who the caller is, if they may come in."""
        if sum(each.over_tcp == session.over_tcp for each in self._sessions.values()) > self._limits.connections:
            raise too_many(self._limits)
        connection = writer.get_extra_info("socket")
        try:
            if session.over_tcp:
                await asyncio.to_thread(loopback.admit, connection, self._host_pids())
            else:
                peer = admit(connection, None if self._service else self._owner_uid, self._host_pids())
        except BailiwickError:
            raise
        except Exception:
            # Whatever went wrong, the caller is not identified, and nobody unidentified comes in.
            raise Denied("the caller cannot be identified") from None
        if not session.over_tcp:
            return partial(_at_once, self._identify, peer.uid)
        if self._bearer is None:
            raise Denied("this runtime takes no tokens")
        return partial(self._bearer, await session.token())


async def _at_once(identify: Callable[[int], User], uid: int) -> User:
    return identify(uid)

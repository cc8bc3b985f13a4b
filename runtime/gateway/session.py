"""One connection: reads requests, runs each as a task, writes answers. A caller's faults stay its own.

Who calls is asked anew for each request, and again while a stream goes on: what they were when they came counts for
nothing.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from runtime.gateway.backend import Verbs
from runtime.gateway.messages import Bearer, Greeting, Request
from runtime.gateway.verbs import VERBS, Verb
from runtime.gateway.wire import (
    ANSWER_BYTES,
    CONNECTION,
    REQUEST_BYTES,
    REQUESTS,
    LineTooLong,
    decode,
    encode,
    failure,
    read_line,
)
from store.records.errors import BailiwickError, Denied, SettingsError, Unreachable
from store.records.identity import User
from store.records.problems import problems

log = logging.getLogger("bailiwick.gateway")

VerbsFor = Callable[[str], Awaitable[tuple[User, Verbs]]]
"""Identifies the caller anew, for a verb of this name: who they are, and what answers them. Raises Denied if they may
not."""
TOKEN_S, TOKEN_BYTES = 5.0, 4096
AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may take. `stall_s`: how long (seconds) it may leave an answer unread before it is cut off."""

    request_bytes: int = REQUEST_BYTES
    answer_bytes: int = ANSWER_BYTES
    connections: int = 64
    requests: int = REQUESTS
    stall_s: float = 60.0


class Session:
    """Answers one caller, who has been identified, until it leaves or is cut off."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        *,
        over_tcp: bool = False,
        debug: bool = False,
    ) -> None:
        self.over_tcp = over_tcp
        self._reader, self._writer = reader, writer
        self._limits, self._debug = limits, debug
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._streams: set[int] = set()
        self._writing = asyncio.Lock()
        self._spared: asyncio.Task[Any] | None = None

    async def refuse(self, error: BailiwickError) -> None:
        """Say why not, and hang up."""
        await self._send(CONNECTION, error=failure(error))
        await self._hang_up()

    async def token(self) -> str:
        """What a caller over TCP must say first. Raises Denied for anything else, or if nothing comes in time."""
        try:
            async with asyncio.timeout(TOKEN_S):
                line = await read_line(self._reader, TOKEN_BYTES)
            return Bearer.model_validate_json(line, strict=True).token
        except (TimeoutError, LineTooLong, ValidationError, OSError):
            raise Denied("a token is wanted first", do="name its file in the setting token_file") from None

    async def serve(self, verbs_for: VerbsFor, greeting: Greeting) -> None:
        """Greet, then answer until the caller leaves. Streams end with that; all else it asked for is finished."""
        try:
            await self._send(CONNECTION, result=greeting)
            while await self._next(verbs_for):
                pass
            for request in self._streams & self._requests.keys():
                self._requests[request].cancel()
            await self._settle()
        finally:
            for task in self._requests.values():
                if task is not self._spared:
                    task.cancel()
            await self._settle()
            await self._hang_up()

    def runs(self, task: asyncio.Task[Any] | None) -> bool:
        """True if the task is one of this session's requests."""
        return task in self._requests.values()

    def spare(self, task: asyncio.Task[Any] | None) -> None:
        """Do not cancel this task when the session is ended: it is the request that ends the gateway."""
        self._spared = task

    async def _settle(self) -> None:
        if self._requests:
            await asyncio.wait(self._requests.values())

    async def _next(self, verbs_for: VerbsFor) -> bool:
        """Take one request. False when the caller has no more."""
        try:
            line = await read_line(self._reader, self._limits.request_bytes)
        except LineTooLong:
            most = self._limits.request_bytes >> 10
            error = SettingsError(f"the request is longer than {most} KiB", do="send less text with it")
            return await self._send(CONNECTION, error=failure(error))
        if not line:
            return False
        try:
            request = Request.model_validate_json(line, strict=True)
        except ValidationError as problem:
            what = f"not a request: {problems(problem, 'message', 5)}"
            error = SettingsError(what, do='send {"id": 1, "verb": "status", "args": {}}')
            return await self._send(_id_of(line), error=failure(error))
        try:
            self._begin(verbs_for, request)
        except BailiwickError as refused:
            return await self._send(request.id, error=failure(refused))
        return True

    def _begin(self, verbs_for: VerbsFor, request: Request) -> None:
        verb = VERBS.get(request.verb)
        if verb is None:
            raise SettingsError("there is no such verb", request.verb[:40], f"use one of {', '.join(VERBS)}")
        if request.id in self._requests:
            raise SettingsError("a request with this id is still being answered", f"id {request.id}")
        if len(self._requests) >= self._limits.requests:
            raise SettingsError(
                "too many requests at once", f"limit {self._limits.requests}", "wait for an answer first"
            )
        # Through JSON again, because only JSON input is checked strictly and still takes a list for a tuple.
        arguments = verb.check(to_json(request.args))
        if verb.stream:
            self._streams.add(request.id)
        task = asyncio.create_task(self._answer(verbs_for, verb, request.id, arguments))
        self._requests[request.id] = task
        task.add_done_callback(lambda _: self._forget(request.id))

    def _forget(self, request: int) -> None:
        self._requests.pop(request, None)
        self._streams.discard(request)

    async def _answer(self, verbs_for: VerbsFor, verb: Verb, request: int, arguments: dict[str, Any]) -> None:
        result: Any = None
        try:
            user, verbs = await verbs_for(verb.name)
            method = getattr(verbs, verb.name)
            if verb.stream:
                if not await self._stream(request, method(**arguments), lambda: _unchanged(user, verbs_for, verb.name)):
                    return
            else:
                result = await method(**arguments)
        except BailiwickError as error:
            await self._send(request, error=failure(error))
        except Exception as error:
            await self._send(request, error=failure(defect(verb.name, error, debug=self._debug)))
        else:
            await self._send(request, result=result)

    async def _stream(self, request: int, items: AsyncIterator[Any], still: Callable[[], Awaitable[object]]) -> bool:
        """Send every item. False if the caller is gone. An item that comes when the caller was last identified more
        than AGAIN_S ago is sent once they are again: `still` raises Denied if they may not have it any more, or not as
        who they are by now."""
        seen = time.monotonic()
        try:
            async for item in items:
                if time.monotonic() - seen >= AGAIN_S:
                    await still()
                    seen = time.monotonic()
                if not await self._send(request, item=item):
                    return False
        finally:
            if close := getattr(items, "aclose", None):
                await close()
        return True

    async def _send(self, request: int, **content: Any) -> bool:
        """Write one line. False if the caller is gone, or does not read and is therefore cut off."""
        try:
            line = encode({"id": request, **content})
        except ValueError:
            line = encode({"id": request, "error": failure(BailiwickError("the answer cannot be written as JSON"))})
        if len(line) > self._limits.answer_bytes:
            most = self._limits.answer_bytes >> 10
            error = SettingsError(f"the answer is longer than {most} KiB", do="ask for fewer rows, or without payloads")
            line = encode({"id": request, "error": failure(error)})
        try:
            # Whoever waits for the lock waits for the same reader, so the time allowed covers both.
            async with asyncio.timeout(self._limits.stall_s), self._writing:
                self._writer.write(line)
                await self._writer.drain()
        except TimeoutError:
            log.warning("a caller did not read for %s s and was cut off", self._limits.stall_s)
            self._writer.transport.abort()
            return False
        except OSError:
            return False
        return not self._writer.is_closing()

    async def _hang_up(self) -> None:
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
            return
        self._writer.transport.abort()


async def _unchanged(user: User, verbs_for: VerbsFor, verb: str) -> None:
    """Raise Denied unless a caller still is who a stream is for: what it shows goes by their tenant and roles."""
    now, _ = await verbs_for(verb)
    if (now.name, now.tenant, now.roles) != (user.name, user.tenant, user.roles):
        raise Denied(f"{now.name} has other roles, or another tenant, by now", do="ask again")


def defect(doing: str, error: Exception, *, debug: bool) -> BailiwickError:
    """What a caller is told of a defect of ours. Its text may quote a prompt: shown under debug only, never logged."""
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
    log.error("%s failed: %s at %s", doing, type(error).__name__, where)
    told = f"{type(error).__name__}: {error}" if debug else ""
    return BailiwickError(f"the runtime failed inside while answering {doing}", told, "see its log")


def too_many(limits: Limits) -> BailiwickError:
    """The error for a caller who comes when every place is taken."""
    return Unreachable(
        "the runtime has no free connection", f"limit {limits.connections}", "close another one and retry"
    )


def _id_of(line: bytes) -> int:
    """The id in a line that is not a request, so that the answer finds the caller; else the connection's."""
    try:
        value = decode(line).get("id")
    except ValueError:
        return CONNECTION
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**53 else CONNECTION

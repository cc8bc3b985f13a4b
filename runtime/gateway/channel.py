"""The caller's end of one connection: opens it, makes sure of who answers, sends requests and reads answers."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runtime.gateway.messages import Greeting
from runtime.gateway.peer import credentials
from runtime.gateway.wire import (
    ANSWER_BYTES,
    CONNECTION,
    PROTOCOL,
    REQUEST_BYTES,
    LineTooLong,
    decode,
    encode,
    error,
    read_line,
)
from store.records.errors import BailiwickError, Denied, SettingsError, Unreachable

GREETING_S = 5.0
START = "start it with `bailiwick up`"


class Channel:
    """One connection, greeted."""

    def __init__(self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._path, self._reader, self._writer = path, reader, writer
        self.greeting: Greeting

    @classmethod
    async def open(cls, path: Path) -> "Channel":
        """Connect. Raises Unreachable if nobody listens or answers, Denied if we are refused."""
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unreachable("no runtime is listening", str(path), START) from None
        except PermissionError:
            raise Denied("this runtime belongs to another user", str(path), "start one of your own") from None
        except OSError as problem:
            raise Unreachable(f"cannot connect: {problem.strerror or problem}", str(path), START) from None
        channel = cls(path, reader, writer)
        try:
            await channel._greeted()
        except BaseException:
            await channel.close()
            raise
        return channel

    async def send(self, request: int, verb: str, arguments: Mapping[str, Any]) -> None:
        """Send one request. Raises SettingsError if it is too long or no JSON, Unreachable if nobody is there."""
        try:
            line = encode({"id": request, "verb": verb, "args": arguments})
        except ValueError:
            raise SettingsError(f"an argument of {verb} cannot be written as JSON") from None
        if len(line) > REQUEST_BYTES:
            raise SettingsError(f"the request is longer than {REQUEST_BYTES >> 10} KiB", verb, "send less text with it")
        try:
            self._writer.write(line)
            await self._writer.drain()
        except OSError:
            raise self._gone() from None

    async def receive(self) -> dict[str, Any]:
        """The next answer. Raises Unreachable if the connection is gone, or the error that concerns it as a whole."""
        try:
            line = await read_line(self._reader, ANSWER_BYTES)
            if not line:
                raise self._gone()
            answer = decode(line)
            if answer.get("id") == CONNECTION and "error" in answer:
                raise error(answer["error"])
        except (ValueError, LineTooLong):
            raise self._foreign() from None
        return answer

    async def close(self) -> None:
        """Hang up. May be called twice."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _greeted(self) -> None:
        uid = credentials(self._writer.get_extra_info("socket"))[1]
        if uid not in {os.geteuid(), 0}:
            raise Denied("what listens here is another user's program", f"{self._path}, user id {uid}")
        try:
            async with asyncio.timeout(GREETING_S):
                self.greeting = Greeting.model_validate((await self.receive()).get("result"))
        except TimeoutError:
            raise Unreachable("the runtime does not answer", str(self._path), "see `bailiwick status`") from None
        except ValidationError:
            raise self._foreign() from None
        if self.greeting.protocol != PROTOCOL:
            raise self._foreign()

    def _gone(self) -> BailiwickError:
        return Unreachable("the runtime has closed the connection", str(self._path), START)

    def _foreign(self) -> BailiwickError:
        return Unreachable(
            "what listens here speaks otherwise", str(self._path), "restart it, so that both are one version"
        )

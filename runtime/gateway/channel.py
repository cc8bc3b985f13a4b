"""The caller's end of one connection: opens it, sends requests and reads answers."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from runtime.gateway.address import START, Address
from runtime.gateway.messages import Greeting
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
from store.records.errors import BailiwickError, SettingsError, Unreachable

GREETING_S = 5.0


class Channel:
    """One connection, greeted."""

    def __init__(self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._address, self._reader, self._writer = address, reader, writer
        self.greeting: Greeting

    @classmethod
    async def open(cls, address: Address) -> "Channel":
        """Connect. Raises Unreachable if nobody listens or answers, Denied if we are refused."""
        channel = cls(address, *await address.connect())
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
        try:
            async with asyncio.timeout(GREETING_S):
                self.greeting = Greeting.model_validate((await self.receive()).get("result"))
        except TimeoutError:
            raise Unreachable("the runtime does not answer", str(self._address), "see `bailiwick status`") from None
        except ValidationError:
            raise self._foreign() from None
        if self.greeting.protocol != PROTOCOL:
            raise self._foreign()

    def _gone(self) -> BailiwickError:
        return Unreachable("the runtime has closed the connection", str(self._address), START)

    def _foreign(self) -> BailiwickError:
        return Unreachable(
            "what listens here speaks otherwise", str(self._address), "restart it, so that both are one version"
        )

"""Where a runtime is reached, and how a connection is made to it that one may trust: at its socket, or over TCP."""

import asyncio
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.gateway.loopback import require_trusted
from runtime.gateway.peer import credentials
from runtime.gateway.tcp import endpoint
from runtime.gateway.wire import encode
from store.keys.files import read_private
from store.records.address import is_loopback
from store.records.errors import Denied, SettingsError, Unreachable

CONNECT_S = 10.0
START = "start it with `bailiwick up`"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Address(Protocol):
    """Where a runtime is reached. Its text is for people."""

    async def connect(self) -> Streams:
        """A connection to a program that may be trusted. Raises Unreachable if nobody listens, Denied if it is none."""
        ...


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket. What listens there must be this user's, root's, or the `service`'s (a user id)."""

    path: Path
    service: int | None = None

    async def connect(self) -> Streams:
        """As Address.connect."""
        try:
            reader, writer = await asyncio.open_unix_connection(self.path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unreachable("no runtime is listening", str(self), START) from None
        except PermissionError:
            raise Denied("this runtime belongs to another user", str(self), "start one of your own") from None
        except OSError as problem:
            raise Unreachable(f"cannot connect: {problem.strerror or problem}", str(self), START) from None
        uid = credentials(writer.get_extra_info("socket"))[1]
        if uid not in {os.geteuid(), 0, self.service}:
            writer.close()
            raise Denied("what listens here is another user's program", f"{self.path}, user id {uid}")
        return reader, writer

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and port, and the file with the token that lets us in. `ca`: certificates to trust, a file in PEM.

    TLS is spoken to every address but this machine's own, and there too if `ca` is given.
    """

    host: str
    port: int
    token_file: Path
    ca: Path | None = None
    service: int | None = None

    @classmethod
    def parse(cls, text: str, token_file: Path | None, ca: Path | None, service: int | None = None) -> "TcpAddress":
        """An address as the setting `connect` has it. Raises SettingsError."""
        host, port = endpoint(text)
        if token_file is None:
            raise SettingsError("a token is needed to connect there", text, "name its file in the setting token_file")
        return cls(host, port, token_file, ca, service)

    async def connect(self) -> Streams:
        """As Address.connect. The token is sent only when it is known who listens."""
        token = self._token()
        tls = None if is_loopback(self.host) and self.ca is None else self._tls()
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(self.host, self.port, ssl=tls)
        except ssl.SSLError as problem:
            why = getattr(problem, "verify_message", "") or problem.reason or "no TLS"
            raise Denied(f"what listens there cannot be trusted: {why}", str(self), "see the setting tls_ca") from None
        except TimeoutError:
            raise Unreachable("nobody answers there", str(self), START) from None
        except OSError as problem:
            raise Unreachable(f"cannot connect: {problem.strerror or problem}", str(self), START) from None
        try:
            if tls is None:
                require_trusted(writer.get_extra_info("socket"), {os.geteuid(), 0, self.service or 0})
            writer.write(encode({"token": token}))
        except BaseException:
            writer.close()
            raise
        return reader, writer

    def _token(self) -> str:
        try:
            return read_private(self.token_file).decode("ascii", "replace").strip()
        except OSError as error:
            what = f"the token cannot be read: {error.strerror}"
            raise SettingsError(what, str(self.token_file), "check the setting token_file") from None

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError):
            raise SettingsError("the certificates to trust cannot be read", str(self.ca), "give PEM") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

"""Where traces go: to a collector over HTTP, or to a file. Each takes the whole of a run or says why it did not.

A collector is on this machine unless somebody said otherwise, and then it is spoken to over TLS, with certificates
verified. No redirect is followed and no proxy asked, whatever the environment says; nothing is repeated.
"""

import json
import os
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from store.records.address import is_loopback
from store.records.canonical import Json, canonical
from store.records.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from http.client import HTTPConnection

OK = 200
TIMEOUT_S = 5.0
"""How long one step of talking to a collector may take: connecting, sending, the head of its answer."""
ANSWER_BYTES = 2**16
PATH = "/v1/traces"
"""OTLP's own path, for an endpoint that names none."""


class Sink(Protocol):
    """What takes traces."""

    def send(self, request: Json) -> None:
        """Hand over one ExportTraceServiceRequest. Raises Unreachable with the reason if it did not get there whole."""
        ...


@dataclass(frozen=True, slots=True)
class Collector:
    """An OTLP collector over HTTP. `parse` makes one."""

    secure: bool
    host: str
    port: int | None
    path: str

    @classmethod
    def parse(cls, url: str, *, remote: bool) -> "Collector":
        """The collector at `url`; without a path, at OTLP's own. Raises SettingsError for one that may not be used."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise SettingsError("the endpoint is no URL", url, _EXAMPLE) from None
        if not (url.isascii() and url.isprintable()) or " " in url or parts.scheme not in ("http", "https") or not host:
            raise SettingsError("the endpoint is no URL of http or https", repr(url)[1:-1], _EXAMPLE)
        if parts.username is not None or parts.query or parts.fragment:
            raise SettingsError("an endpoint has no password, query or fragment", host, _EXAMPLE)
        if not is_loopback(host):
            if not remote:
                do = "write this one as 127.0.0.1, or allow another with otlp_remote = true"
                raise SettingsError("the endpoint may be on another machine", host, do)
            if parts.scheme != "https":
                raise SettingsError("an endpoint on another machine must be https", host, "give an https URL")
        return cls(parts.scheme == "https", host, port, PATH if parts.path in ("", "/") else parts.path)

    def send(self, request: Json) -> None:
        """As Sink.send."""
        from http.client import HTTPException

        try:
            with closing(self._connection()) as connection:
                headers = {"Content-Type": "application/json", "User-Agent": "bailiwick"}
                connection.request("POST", self.path, canonical(request), headers)
                with connection.getresponse() as answer:
                    said = answer.read(ANSWER_BYTES) if answer.status == OK else b""
        except (OSError, HTTPException, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise Unreachable(f"the collector of traces did not answer: {reason}", self.host) from None
        if answer.status != OK:
            raise Unreachable(f"the collector of traces answered {answer.status}", f"{self.host}{self.path}")
        if rejected := _rejected(said):
            raise Unreachable(f"the collector of traces rejected {rejected} spans", self.host)

    def _connection(self) -> "HTTPConnection":
        from http.client import HTTPConnection, HTTPSConnection

        if not self.secure:
            return HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)
        from ssl import create_default_context

        return HTTPSConnection(self.host, self.port, timeout=TIMEOUT_S, context=create_default_context())


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A file of traces, one request a line, as OpenTelemetry's file exporter writes them. New ones are made 0600."""

    path: Path

    def send(self, request: Json) -> None:
        """As Sink.send; returns once the line is on disk. A line that a crash cut short is left to stand alone."""
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
            try:
                self._append(file, canonical(request) + b"\n")
            finally:
                os.close(file)
        except OSError as error:
            raise Unreachable(f"the file of traces cannot be written: {error.strerror}", str(self.path)) from None

    def _append(self, file: int, line: bytes) -> None:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise Unreachable("this is no file to write traces to", str(self.path))
        if found.st_size and os.pread(file, 1, found.st_size - 1) != b"\n":
            line = b"\n" + line
        while line:
            line = line[os.write(file, line) :]
        os.fsync(file)


_EXAMPLE = "give one like http://127.0.0.1:4318"


def _rejected(answer: bytes) -> int:
    """How many spans a collector said that it did not take; 0 if its answer is not about that."""
    try:
        return int(json.loads(answer)["partialSuccess"]["rejectedSpans"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return 0

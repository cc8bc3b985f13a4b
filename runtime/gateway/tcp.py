"""The gateway's TCP address: where it is, and the certificate it shows. Off unless a setting says otherwise.

On the machine itself it may go without TLS; anywhere else never: a token that is overheard is a token that is stolen.
"""

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from store.keys.files import read_private
from store.records.address import is_loopback
from store.records.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen at, and how to speak there. Port 0: any that is free."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, text: str, cert: Path | None = None, key: Path | None = None) -> "Listen":
        """An address as the setting `listen` has it. Raises SettingsError, also for one that others can reach without a
        certificate, and for a key that others can read."""
        host, port = endpoint(text)
        try:
            ipaddress.ip_address(host)
        except ValueError:
            what = "the address to listen at is no number"
            raise SettingsError(what, text, "name one of this machine's, 127.0.0.1:8750 say") from None
        if (cert is None) != (key is None):
            raise SettingsError("a certificate goes with its key", text, "set both tls_cert and tls_key")
        if cert is None or key is None:
            if not is_loopback(host):
                what = "other machines can reach this address, so it needs a certificate"
                raise SettingsError(what, text, "set tls_cert and tls_key")
            return cls(host, port)
        return cls(host, port, _context(cert, key))

    def bind(self) -> socket.socket:
        """A listening socket. Raises SettingsError if the address is taken or not this machine's."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen()
        except OSError as error:
            listener.close()
            where = f"{self.host}:{self.port}"
            raise SettingsError(f"cannot listen: {error.strerror}", where, "choose another address") from None
        listener.setblocking(False)
        return listener


def endpoint(text: str) -> tuple[str, int]:
    """HOST:PORT, or [HOST]:PORT for one with colons in it. Raises SettingsError."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else -1
    if not colon or not bare or (":" in bare and bare == host) or not 0 <= number < 65536:
        raise SettingsError("this is no address", text, "write HOST:PORT, or [HOST]:PORT for IPv6")
    return bare, number


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        read_private(key)
        context.load_cert_chain(cert, key, password=lambda: b"")
    except ssl.SSLError as error:
        why = error.reason or "not PEM"
        raise SettingsError(f"the certificate cannot be used: {why}", f"{cert}, {key}", "give a pair in PEM") from None
    except OSError as error:
        raise SettingsError(f"the certificate cannot be read: {error.strerror}", f"{cert}, {key}", "check it") from None
    return context

"""Who is at the other end of a TCP connection, if that end is on this machine: the kernel's table of sockets says.

A token opens the gateway to whoever holds it, and a tool that runs as the runtime's own user could read that user's
token files. So a caller from this machine who runs as that user is refused like a caller at the socket if it descends
from the tool host, or cannot be found among the processes. And a client sends its token to nobody on this machine but
to a program of its own user's, of root's or of the service's.
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.gateway.peer import ancestry, require_outsider
from store.records.address import is_loopback, parsed
from store.records.errors import Denied

LISTENING = "0A"
Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of /proc/net/tcp (proc_net_tcp(5)): both ends as the kernel writes them, and whose socket it is."""

    local: str
    remote: str
    state: str
    uid: int
    inode: int


def admit(connection: socket.socket, hosts: Set[int]) -> None:
    """Raise Denied if the caller is a process of this machine that may not come in. `hosts` as for peer.admit. Reads
    the open files of every process, so not for an event loop's thread."""
    local, remote = connection.getsockname()[:2], connection.getpeername()[:2]
    # A socket for IPv6 reaches addresses of IPv4, too, and then each end is in a table of its own.
    theirs, ours = _texts(remote), _texts(local)
    every = [*_rows(socket.AF_INET), *_rows(socket.AF_INET6)]
    rows = [row for row in every if row.local in theirs and row.remote in ours]
    if not rows and not is_loopback(remote[0]) and remote[0] != local[0]:
        return  # another machine's
    if not rows or not rows[0].inode:
        raise Denied("the caller is gone", do="call again from a process that stays until it is answered")
    if rows[0].uid != os.geteuid():
        return  # tools run as this user, and cannot become another
    callers = list(_holders(rows[0].inode))
    if not callers:
        raise Denied("the caller cannot be identified", do="call from a process that this user may look at")
    for pid in callers:
        try:
            chain = ancestry(pid)
        except (OSError, ValueError):
            raise Denied("the caller's parents cannot be read", do="call again") from None
        require_outsider(chain, hosts)


def require_trusted(connection: socket.socket, owners: Set[int]) -> None:
    """Raise Denied if what listens on this machine at the other end is the program of a user who is not in `owners`."""
    ours, theirs = connection.getsockname()[:2], connection.getpeername()[:2]
    anywhere = ("0.0.0.0", theirs[1]), ("::", theirs[1])
    taken = {_text(each) for each in (theirs, *anywhere)}
    rows = [*_rows(socket.AF_INET), *_rows(socket.AF_INET6)]
    listening = {row.uid for row in rows if row.state == LISTENING and row.local in taken}
    accepted = {row.uid for row in rows if (row.local, row.remote) == (_text(theirs), _text(ours))}
    if not listening or not listening | accepted <= owners:
        whose = ", ".join(map(str, sorted(listening | accepted))) or "unknown"
        raise Denied("what listens here is another user's program", f"{theirs[0]}:{theirs[1]}, user id {whose}")


def _rows(family: int) -> Iterator[Row]:
    lines = Path("/proc/net/tcp6" if family == socket.AF_INET6 else "/proc/net/tcp")
    with suppress(FileNotFoundError):  # a machine without IPv6
        for line in lines.read_text().splitlines()[1:]:
            fields = line.split()
            yield Row(fields[1], fields[2], fields[3], int(fields[7]), int(fields[9]))


def _texts(endpoint: Endpoint) -> set[str]:
    """An address and port as any table of the kernel's writes them."""
    address = parsed(endpoint[0])
    forms = {str(address)} | ({f"::ffff:{address}"} if address.version == 4 else set())
    return {_text((each, endpoint[1])) for each in forms}


def _text(endpoint: Endpoint) -> str:
    """An address and port as the kernel writes them: each word of the address as a number of this machine's."""
    host, port = endpoint
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"


def _holders(inode: int) -> Iterator[int]:
    """The processes that have a socket open, of those that this user may look at."""
    name = f"socket:[{inode}]"
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if any(str(link.readlink()) == name for link in (process / "fd").iterdir()):
                    yield int(process.name)

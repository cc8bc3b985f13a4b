"""Who is at the other end of a socket, as the kernel says, and whether that process may talk to the gateway.

Tool servers are other people's programs. One of them that reached the gateway could approve its own calls, so a caller
that descends from the tool host is refused, and so is everybody whose descent cannot be read. The tool host is a child
subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): its orphaned descendants become its own children, so the walk up the
parents finds it. The environment's mark is a second, independent sign. Every process of a cluster starts with it, tool
host and agents among them, so it also tells a tool of another runtime, and of one whose tool host does not answer.
"""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from store.records.errors import Denied

MARK = "BAILIWICK_TOOL_CHILD"
PEERPIDFD = 77
"""SO_PEERPIDFD (Linux 6.5 and later), which Python 3.11 does not name."""
TRIES = 5


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its id and its parent's, and when it started (clock ticks since boot), which tells it from a
    later process that was given the same id."""

    pid: int
    parent: int
    started: int


@dataclass(frozen=True, slots=True)
class Peer:
    """The caller, and its ancestors from itself upwards."""

    pid: int
    uid: int
    gid: int
    ancestry: tuple[Process, ...]


def credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Process id, user id and group id of who opened the other end, as of then (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid, gid


def admit(connection: socket.socket, owner_uid: int | None, hosts: Set[int]) -> Peer:
    """The caller, if it may come in: only this user's programs, or (None) whoever the socket's own mode lets come.
    `hosts` are the process ids of tool hosts. Raises Denied."""
    arrived = _ticks_since_boot()
    handle = _handle(connection)
    try:
        pid, uid, gid = credentials(connection)
        if owner_uid is not None:
            require_owner(uid, owner_uid)
        chain = _stable_ancestry(pid)
        require_outsider(chain, hosts, hidden=uid != os.geteuid())
        # If the caller lives now, its id was never free, and what was read is about it and nobody else.
        if chain[0].started > arrived or not _alive(handle):
            raise _unknown("the caller is gone")
    finally:
        if handle >= 0:
            os.close(handle)
    return Peer(pid, uid, gid, chain)


def require_owner(uid: int, owner_uid: int) -> None:
    """Personal mode: one user. Raises Denied for any other, root included."""
    if uid != owner_uid:
        raise Denied("this runtime belongs to another user", f"user id {uid}", "start one of your own")


def require_outsider(chain: tuple[Process, ...], hosts: Set[int], *, hidden: bool = False) -> None:
    """Raises Denied if the process, or any ancestor of it, is a tool host or carries the mark of a tool's child.

    `hidden`: it is another user's, whose environment this process may be unable to read. A tool is never another
    user's: it runs as the runtime does, and of what it starts through a program that is, the ancestry tells.
    """
    if any(process.pid in hosts for process in chain):
        raise Denied("tools cannot talk to the runtime that runs them", f"process {chain[0].pid}")
    if any(_marked(process, is_caller=process is chain[0] and not hidden) for process in chain):
        raise Denied("tools cannot talk to a runtime", f"process {chain[0].pid}")


def ancestry(pid: int) -> tuple[Process, ...]:
    """The process and its ancestors, upwards. Raises OSError if one is gone or hidden, ValueError if replaced."""
    chain: list[Process] = []
    while pid > 0:
        process = _process(pid)
        if chain and process.started > chain[-1].started:
            raise ValueError("a parent cannot be younger than its child")
        chain.append(process)
        pid = process.parent
    if not chain:
        raise ValueError("the process is outside this namespace")
    return tuple(chain)


def _stable_ancestry(pid: int) -> tuple[Process, ...]:
    """The ancestry, read until it is the same twice: parents may die, and orphans move, while it is read."""
    before: tuple[Process, ...] = ()
    for _ in range(TRIES):
        try:
            now = ancestry(pid)
        except (OSError, ValueError):
            continue
        if now == before:
            return now
        before = now
    raise _unknown("the caller's parents cannot be read")


def _process(pid: int) -> Process:
    # proc_pid_stat(5). The second field is the program's name in brackets and may hold anything, brackets included.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return Process(pid, int(fields[1]), int(fields[19]))


def _marked(process: Process, *, is_caller: bool) -> bool:
    """True if the process was started with the mark. Of ancestors that hide their environment nothing is known: a
    login shell's parents run as root. A caller that hides it is refused."""
    try:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    except OSError:
        if is_caller:
            raise _unknown("the caller's environment cannot be read") from None
        return False
    return any(entry.startswith(f"{MARK}=".encode()) for entry in environment.split(b"\0"))


def _handle(connection: socket.socket) -> int:
    """A pidfd of the caller, or -1 where the kernel has none to give. It stays the caller's if the id is given away."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, PEERPIDFD)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return -1
        raise _unknown("the caller is gone") from None


def _alive(handle: int) -> bool:
    """False if the process of a pidfd has ended: the descriptor then becomes readable (pidfd_open(2))."""
    if handle < 0:
        return True
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return not poll.poll(0)


def _ticks_since_boot() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") // 10**9


def _unknown(what: str) -> Denied:
    return Denied(what, do="call again from a process that stays until it is answered, with /proc readable")

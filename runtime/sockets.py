"""The listening sockets of a process and of all that descend from it, TCP and Unix. Linux; changes nothing."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from runtime.probe import Access, access
from store.records.address import is_loopback

LAB = ["-I", "-m", "tools.opslab.supervisor"]
"""How the demo starts its lab."""
_LISTENING = 0x10000
"""__SO_ACCEPTCON in the flags column of /proc/net/unix."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. `address` is `host:port`, or the path of a Unix socket (`@name` if abstract).

    `lab` says that it belongs to the demo's lab, which is no part of the runtime: it is what the runtime works on.
    """

    address: str
    pid: int
    process: str
    kind: str
    access: Access
    lab: bool = False

    @property
    def loopback(self) -> bool:
        """True if nobody on another machine can reach it."""
        return self.kind == "unix" or is_loopback(self.address.rpartition(":")[0].strip("[]"))


def listeners(root: int) -> list[Listener]:
    """What the process `root` and its descendants listen on, each probed. Empty if there is no such process."""
    try:
        first = psutil.Process(root)
        family = [first, *first.children(recursive=True)]
    except psutil.Error:
        return []
    unix, lab = _listening_unix(), _lab(first)
    found: list[Listener] = []
    for process in family:
        with suppress(psutil.Error):
            own = [*_tcp(process), *_unix(process, unix)]
            found += [replace(each, lab=True) for each in own] if process.pid in lab else own
    return found


def _lab(driver: psutil.Process) -> set[int]:
    """The processes of the lab that a driver started. A direct child only: a tool server must not pass for it."""
    found: set[int] = set()
    for child in driver.children():
        with suppress(psutil.Error):
            if child.cmdline()[1:4] == LAB:
                found |= {child.pid, *(each.pid for each in child.children(recursive=True))}
    return found


def _tcp(process: psutil.Process) -> Iterator[Listener]:
    for connection in process.net_connections("inet"):
        if connection.status == psutil.CONN_LISTEN:
            host, port = connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port
            reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            yield Listener(address, process.pid, process.name(), "tcp", access(reachable, port))


def _unix(process: psutil.Process, listening: dict[str, str]) -> Iterator[Listener]:
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(OSError):
            path = listening.get(os.readlink(descriptor))  # noqa: PTH115  # Path.readlink would garble `socket:[1]`
            if path:
                yield Listener(path, process.pid, process.name(), "unix", _unix_access(path))


def _listening_unix() -> dict[str, str]:
    """The path of each listening Unix socket by what a descriptor of it links to, `socket:[INODE]`."""
    found = {}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if int(fields[3], 16) & _LISTENING:
            found[f"socket:[{fields[6]}]"] = fields[7] if len(fields) > 7 else "(unnamed)"
    return found


def _unix_access(path: str) -> Access:
    """The kernel asks for write permission on the socket and search permission on each folder above it."""
    if not path.startswith("/"):
        return Access.OPEN
    try:
        if not _others(Path(path), stat.S_IWGRP | stat.S_IWOTH):
            return Access.REFUSED
        folders = Path(path).parents
        return (
            Access.REFUSED
            if any(not _others(folder, stat.S_IXGRP | stat.S_IXOTH) for folder in folders)
            else Access.OPEN
        )
    except OSError:
        return Access.GONE


def _others(path: Path, bits: int) -> bool:
    return bool(path.stat().st_mode & bits)

"""Taking a socket's path: private folder, one listener at a time, nothing of a dead process in the way."""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.gateway.paths import VARIABLE, listening, sockets
from store.records.errors import SettingsError, Unreachable

PATH_BYTES = 107
"""The longest path that fits sockaddr_un on Linux (unix(7)), without its final zero."""
BACKLOG = 64


def listen(path: Path, group: int | None = None) -> socket.socket:
    """A listening socket at `path`, mode 0600, in a folder that is 0700 and ours.

    With a `group` (service mode) its members reach it: the socket is 0660, and its folder, which may be theirs to pass
    but not to write, is made 0710. The folder is as it must be before the socket is in it, so there is no moment at
    which anybody else can reach it. A socket nobody listens on is replaced. Raises Unreachable if the path is in use,
    SettingsError if it cannot be used.
    """
    if len(os.fsencode(path)) > PATH_BYTES:
        raise SettingsError(
            f"a socket's path has at most {PATH_BYTES} bytes", str(path), f"set {VARIABLE} to a shorter one"
        )
    _make_private(path.parent, group)
    with _alone(path.parent):
        _clear(path)
        for dead in sockets(path.parent):
            if not listening(dead):
                dead.unlink(missing_ok=True)
        return _bind(path, group)


def withdraw(path: Path) -> None:
    """Take the socket away once its listener is closed, unless somebody else has put theirs there since."""
    if not path.parent.is_dir():
        return
    with _alone(path.parent):
        if path.is_socket() and not listening(path):
            path.unlink(missing_ok=True)


def _make_private(folder: Path, group: int | None) -> None:
    try:
        for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
            if group is not None:
                os.chown(missing, -1, group)
                missing.chmod(0o710)
        status = folder.lstat()
    except OSError as error:
        raise SettingsError(f"cannot make the socket's folder: {error.strerror}", str(folder), _elsewhere()) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise SettingsError("the socket's folder is not a folder of this user's", str(folder), _elsewhere())
    if status.st_mode & (0o077 if group is None else 0o027) or group not in (None, status.st_gid):
        do = f"chmod 700 {folder}" if group is None else f"chgrp {group} {folder} && chmod 710 {folder}"
        raise SettingsError("other users can enter the socket's folder", str(folder), do)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: of two starters, the second sees the first one's socket, and sees it listening."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise SettingsError("there is a file where the socket should be", str(path), _elsewhere())
    if listening(path):
        raise Unreachable("a runtime already listens here", str(path), "use it, or end it with `bailiwick down`")
    path.unlink()


def _bind(path: Path, group: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(0o660)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        with suppress(OSError):
            path.unlink()
        raise SettingsError(f"cannot listen: {error.strerror}", str(path), _elsewhere()) from None
    listener.setblocking(False)
    return listener


def _elsewhere() -> str:
    return f"set {VARIABLE} to a path in a folder of your own"

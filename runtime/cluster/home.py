"""A cluster's home: a folder of its own under the runtime folder, held by a lock as long as driver or warden live.

r-xxxxxxxx/     0700, a short name: a Unix socket's path may have at most 107 bytes
  lock          held by the driver and by its warden
  driver        the driver's process id
  token         0600, the bearer token of every port
  empty/        0500, the current folder of the driver and of all of Ray's processes
  ray/          Ray's own sockets and logs
"""

import fcntl
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.cluster import warden
from runtime.folders import private_folder

# What Ray's longest socket path has after the home.
_TAIL = len("/ray/session_2026-11-22_08-56-36_112662_4194304/sockets/plasma_store")
_LIMIT = 107


@dataclass(slots=True)
class Home:
    """One cluster's folder. `make` returns it locked and guarded; `close` ends it."""

    path: Path
    entry: Path
    """Its name under the runtime folder: `path` itself, or a link to it."""
    lock: int
    guard: subprocess.Popen[bytes]

    @classmethod
    def make(cls, runtime_dir: Path) -> "Home":
        """A fresh home under `runtime_dir`, after clearing away the homes of drivers that are gone.

        If the path would be too long for Ray's sockets, the home is made under /tmp, equally private. Raises
        SettingsError if the runtime folder is not this user's alone.
        """
        parent = private_folder(runtime_dir)
        with _door(parent):
            _clear(parent)
            short = parent if len(bytes(parent)) + len("/r-12345678") + _TAIL <= _LIMIT else Path("/tmp")
            path = Path(tempfile.mkdtemp(prefix="r-", dir=short))
            entry = parent / path.name
            if entry != path:
                entry.symlink_to(path)  # so that the next start and `doctor` find it
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
        _write(path / "driver", str(os.getpid()))
        _write(path / "token", secrets.token_hex(32))
        (path / warden.EMPTY).mkdir(mode=0o500)
        return cls(path, entry, lock, _guard(path, lock))

    @property
    def token(self) -> Path:
        """The file with the bearer token."""
        return self.path / "token"

    @property
    def empty(self) -> Path:
        """The folder that driver and workers live in."""
        return self.path / warden.EMPTY

    def close(self) -> None:
        """Let the warden kill what is left and remove the folder; returns when it has. The caller must have left it."""
        if self.guard.stdin:
            self.guard.stdin.close()
        self.guard.wait()
        if self.entry.is_symlink():
            self.entry.unlink()
        os.close(self.lock)


def drivers(runtime_dir: Path) -> list[int]:
    """The process ids of the drivers whose clusters live under `runtime_dir`."""
    found = []
    for home in _homes(runtime_dir):
        with suppress(OSError, ValueError):
            if not _unheld(home):
                found.append(int((home / "driver").read_text()))
    return found


def _clear(parent: Path) -> None:
    """Remove the homes that nobody holds, with what still lives in them."""
    for entry in parent.glob("r-*"):
        if _unheld(entry):
            warden.sweep(entry.resolve())
            if entry.is_symlink():
                entry.unlink()


def _homes(parent: Path) -> list[Path]:
    return [path.resolve() for path in sorted(parent.glob("r-*"))]


def _unheld(home: Path) -> bool:
    """True if neither a driver nor a warden holds the home's lock."""
    try:
        lock = os.open(home / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


@contextmanager
def _door(parent: Path) -> Iterator[None]:
    """One process at a time makes or clears homes, so that none is cleared before its lock is taken."""
    door = os.open(parent / "homes.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


def _guard(path: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start the warden in a session of its own: ctrl-C at the terminal is not meant for it."""
    command = [sys.executable, "-I", "-S", str(Path(warden.__file__).resolve()), str(path)]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=nowhere,
        stderr=nowhere,
        pass_fds=(lock,),
        start_new_session=True,
        env={},
        cwd="/",
    )


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)

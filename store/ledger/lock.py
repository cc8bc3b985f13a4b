"""The lock on a data folder: one process writes, or several read.

DuckDB locks its file as well, but a second opening in the same process passes that lock, and any close of the file
drops it (POSIX record locks belong to the process). flock belongs to the open file, so it holds against both.
"""

import fcntl
import os
from pathlib import Path

from store.records.errors import SettingsError, Unreachable

_IN_USE = "the data folder is in use by process "


class FolderLock:
    """Held from construction until `release`. The kernel releases it if the process dies."""

    def __init__(self, folder: Path, *, shared: bool) -> None:
        """Take the lock at once. Raises Unreachable if it is held, SettingsError if there is nothing to lock."""
        self._path = folder / "ledger.lock"
        self._descriptor = self._open(shared)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise self._refusal(folder, holder) from None
        if not shared:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _open(self, shared: bool) -> int:
        try:
            return os.open(self._path, os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            raise SettingsError("there is no ledger yet", str(self._path.parent), "run a task first") from None
        except OSError as error:
            raise unusable(self._path.parent, error) from None

    @staticmethod
    def _refusal(folder: Path, holder: str) -> Unreachable:
        if holder:
            return Unreachable(_IN_USE + f"PID {holder}", str(folder), "stop it, or use another data folder")
        return Unreachable("the data folder is being read by another command", str(folder), "try again when it ended")

    def release(self, *, clear: bool) -> None:
        """Give the lock back. The writer clears its process id, so that nobody takes it for the holder later."""
        if clear:
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def unusable(folder: Path, error: OSError) -> SettingsError:
    """The one line for a folder that cannot be used."""
    reason = error.strerror or type(error).__name__
    return SettingsError(f"the data folder cannot be used: {reason}", str(folder), "choose a folder that you can write")

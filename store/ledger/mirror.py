"""The mirror: checkpoints in a folder outside the data folder, best on another medium or another machine.

A file a day, a line a checkpoint, JSON with `time` and `note`; only ever appended to. What was cut off or changed
before a checkpoint that stands here is found even if the database was rewritten with its keys at hand.
"""

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from store.ledger.key_file import sync_folder
from store.records.errors import SettingsError, Unreachable
from store.verify import LARGEST_NOTE, Checkpoint, Invalid, Key, open_checkpoint

PATTERN = "checkpoints-*.jsonl"


class Mirror:
    """A folder of checkpoints, of one ledger or of several."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self) -> None:
        """Raise SettingsError unless notes can be kept: a medium that is not there must not be missed in silence."""
        if not self.folder.is_dir() or not os.access(self.folder, os.W_OK | os.X_OK):
            do = "mount it or make the folder, or set another mirror_dir"
            raise SettingsError("the mirror of checkpoints cannot be written", str(self.folder), do)

    def keep(self, note: str, now: datetime) -> None:
        """Append a note; on disk when this returns. Raises OSError."""
        path = self.folder / f"checkpoints-{now:%Y-%m-%d}.jsonl"
        new = not path.exists()
        line = json.dumps({"time": f"{now:%Y-%m-%dT%H:%M:%SZ}", "note": note}) + "\n"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = "\n" + line  # a power cut tore the last one
            data = line.encode()
            if file.write(data) != len(data):
                raise OSError(28, "No space left on device")
            os.fsync(descriptor)
        if new:
            sync_folder(self.folder)

    def checkpoints(self, public: bytes, newest_only: bool = False) -> list[Checkpoint]:
        """Those that this public key (32 bytes) has signed under any origin, the smallest first; of the last file that
        has one only, if so asked.

        Lines that are none (torn, or another ledger's) are passed over. Raises Unreachable if the folder cannot be
        read.
        """
        found: list[Checkpoint] = []
        try:
            if not self.folder.is_dir():
                raise FileNotFoundError(2, "No such folder")
            for path in sorted(self.folder.glob(PATTERN), reverse=True):
                found += _signed(path, public)
                if found and newest_only:
                    break
        except OSError as error:
            raise Unreachable(
                f"the mirror of checkpoints cannot be read: {error.strerror}", str(self.folder), "mount it"
            ) from None
        return sorted(found, key=lambda each: each.size)


def _signed(path: Path, public: bytes) -> Iterator[Checkpoint]:
    with path.open("rb") as file:
        while line := file.readline(LARGEST_NOTE):
            try:
                note = json.loads(line)["note"]
                yield open_checkpoint(note, Key(note.partition("\n")[0], public))
            except (Invalid, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue

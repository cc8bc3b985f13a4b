"""The mirror: checkpoints in a folder outside the data folder, best on another medium or another machine.

A file a day, a line a checkpoint, JSON with `time` and `note`; only ever appended to. What was cut off or changed
before a checkpoint that stands here is found even if the database was rewritten with its keys at hand.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from store.keys.files import sync_folder
from store.ledger.gap import Gap
from store.records.errors import IntegrityError, SettingsError, Unreachable
from store.verify import LARGEST_NOTE, Checkpoint, Invalid, Key, open_checkpoint

PATTERN = "checkpoints-*.jsonl"
TAIL_BYTES = 2**16
"""Of each file, which a start looks at; verification reads all."""


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
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            status = os.fstat(descriptor)
            size = status.st_size
            if not stat.S_ISREG(status.st_mode):
                raise OSError(22, "Not a regular file")
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = "\n" + line  # a power cut tore the last one
            data = line.encode()
            if file.write(data) != len(data):
                raise OSError(28, "No space left on device")
            os.fsync(descriptor)
        if new:
            sync_folder(self.folder)

    def checkpoints(self, key: Key, newest_only: bool = False, gaps: Sequence[Gap] = ()) -> list[Checkpoint]:
        """Those of the log that `key` signs, the smallest first; of the end of each day only, if so asked.

        Without those that a restore has left behind: of a size in one of `gaps`, and kept before one of fewer events.
        Also those that this key has signed under another origin: no other log has it. Lines that are none (torn, or
        another ledger's) are passed over. Raises IntegrityError if there is one of this log under another key,
        Unreachable if the folder cannot be read.
        """
        try:
            if not self.folder.is_dir():
                raise FileNotFoundError(2, "No such folder")
            paths = [path for path in sorted(self.folder.glob(PATTERN)) if path.is_file()]
            days = [list(_signed(path, key, TAIL_BYTES if newest_only else 0)) for path in paths]
        except OSError as error:
            raise Unreachable(
                f"the mirror of checkpoints cannot be read: {error.strerror}", str(self.folder), "mount it"
            ) from None
        standing = (sorted(day, key=_size) for day in _standing(days, gaps))
        return sorted((each for day in standing for each in (day[-1:] if newest_only else day)), key=_size)


def _signed(path: Path, key: Key, tail: int) -> Iterator[Checkpoint]:
    """The checkpoints in a file, or in its last `tail` bytes."""
    with path.open("rb") as file:
        if tail:
            file.seek(max(0, path.stat().st_size - tail))
        while line := file.readline(LARGEST_NOTE):
            try:
                note = json.loads(line)["note"]
                origin = note.partition("\n")[0]
                yield open_checkpoint(note, Key(origin, key.public))
            except Invalid:
                if origin == key.name:
                    raise IntegrityError(
                        "the mirror has a checkpoint of this log that its key has not signed: one is forged", str(path)
                    ) from None
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue


def _standing(days: Sequence[Sequence[Checkpoint]], gaps: Sequence[Gap]) -> Iterator[list[Checkpoint]]:
    """Each day's checkpoints, the newest day first, without what was left behind when the ledger went back."""
    least = 2**63
    for day in reversed(days):
        standing = []
        for each in reversed(day):
            if each.size <= least or not any(gap.left(each.size) for gap in gaps):
                standing.append(each)
            least = min(least, each.size)
        yield standing


def _size(checkpoint: Checkpoint) -> int:
    return checkpoint.size

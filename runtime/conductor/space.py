"""The watermark of free space: below it no new run starts, so that those that are open can come to their end.

It looks at one file system, that of the log. It never stops a run.
"""

import shutil
from pathlib import Path

from store.records.errors import Unreachable

MIB = 2**20


def check_space(folder: Path, least_mb: int) -> None:
    """Raise Unreachable if the file system of `folder` has less than `least_mb` MiB free for this user."""
    free = shutil.disk_usage(folder).free
    if free < least_mb * MIB:
        raise Unreachable(
            f"no new run starts: {free // MIB:,} MiB are free, and free_space_mb keeps {least_mb:,}",
            str(folder),
            "make room (`bailiwick storage` shows what takes it), or lower the setting; open runs go on",
        )

"""A database file that takes the place of another: in one rename, after which what was there before is destroyed.

A crash leaves the old file or the new one, and perhaps a second name of the old one; the next start ends what is left.
"""

import os
from pathlib import Path

from store.keys.files import destroy, sync_file, sync_folder


def take_over(new: Path, path: Path) -> None:
    """Let the closed database `new`, on the same medium, succeed the one at `path`. Raises OSError: it has not, then.

    `finish` must follow.
    """
    sync_file(new)
    os.link(path, _old(path))
    new.replace(path)


def finish(path: Path, key: Path) -> None:
    """Destroy what is left of a predecessor, and the `key` that only it needed. One that is still in its place just
    loses its second name. Raises OSError."""
    old = _old(path)
    if old.exists() and path.exists() and not old.samefile(path):
        sync_folder(path.parent)
        destroy(key)  # with it a guess at what was recorded could be tested for ever
    destroy(old, keep=path)


def _old(path: Path) -> Path:
    return path.with_suffix(".old")

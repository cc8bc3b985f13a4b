"""Private files: readable by their owner only, on disk whole or not at all, and overwritten before they are let go.

Overwriting reaches the blocks that a file has. A medium that writes elsewhere instead (flash, a file system that copies
on write) may keep the old ones for a while, as may copies that others made: see `bailiwick keys` in the README.
"""

import os
import secrets
import shutil
from pathlib import Path

from store.records.errors import IntegrityError, SettingsError

KEY_BYTES = 32


def read_private(path: Path) -> bytes:
    """What is in a file. Raises FileNotFoundError, SettingsError if others can read it or this user cannot."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise SettingsError("a key can be read by others", str(path), f"chmod 600 {path}")
            return file.read()
    except PermissionError:
        raise SettingsError("a key cannot be read", str(path), "run as the user that owns it") from None


def read_key(path: Path) -> bytes:
    """The key in a file. Raises IntegrityError if it is missing or damaged, SettingsError if others can read it."""
    try:
        key = read_private(path)
    except FileNotFoundError:
        raise IntegrityError(f"the key {path.name} is missing", str(path), "restore it from a backup") from None
    if len(key) != KEY_BYTES:
        raise IntegrityError(f"the key {path.name} is damaged", str(path), "restore it from a backup")
    return key


def make_key(path: Path, key: bytes = b"") -> bytes:
    """A fresh random key, or the one given, on disk before it is used. Never replaces one: raises FileExistsError."""
    key = key or secrets.token_bytes(KEY_BYTES)
    aside = _written_aside(path, key)
    try:
        os.link(aside, path)
    finally:
        aside.unlink()
    sync_folder(path.parent)
    return key


def write_private(path: Path, data: bytes) -> None:
    """Put data in a file of mode 0600, in place of what was there; on disk when this returns."""
    aside = _written_aside(path, data)
    try:
        aside.replace(path)
    except BaseException:
        aside.unlink()
        raise
    sync_folder(path.parent)


def private_subfolder(folder: Path) -> Path:
    """A folder of mode 0700 in one that is there, its name on disk."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
    return folder


def destroy(path: Path, keep: Path | None = None) -> None:
    """Overwrite a file with random bytes and remove it. One that is not there is none to destroy, and one that is only
    another name of the file `keep` just loses this name: a crash can leave a file under two."""
    if keep and keep.exists() and path.exists() and path.samefile(keep):
        path.unlink()
        sync_folder(path.parent)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "wb") as file:
        left = os.fstat(descriptor).st_size
        while left > 0:
            left -= file.write(secrets.token_bytes(min(left, 2**20)))
        file.flush()
        os.fsync(descriptor)
    path.unlink()
    sync_folder(path.parent)


def destroy_tree(folder: Path) -> None:
    """Overwrite and remove every file of a folder, and the folder. Raises OSError."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            destroy(path)
    shutil.rmtree(folder)
    sync_folder(folder.parent)


def sync_file(path: Path, flags: int = 0) -> None:
    """Make what a file holds durable; of a folder, the names in it. `flags` are more for opening it."""
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    sync_file(folder, os.O_DIRECTORY)


def sync_tree(folder: Path) -> None:
    """Have every file and name of a folder on disk, its own name included."""
    for path in (folder, *folder.rglob("*")):
        sync_file(path)
    sync_folder(folder.parent)


def _written_aside(path: Path, data: bytes) -> Path:
    """The data on disk under a name of its own: renamed or linked into place, a crash leaves nothing half written."""
    aside = path.with_suffix(f".{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    return aside

"""Key files: 32 random bytes in a file that only its owner can read, made once and never replaced."""

import os
import secrets
from pathlib import Path

from store.records.errors import IntegrityError, SettingsError

KEY_BYTES = 32


def read_key(path: Path) -> bytes:
    """The key in a file. Raises IntegrityError if it is missing or damaged, SettingsError if others can read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError("a key can be read by others", str(path), f"chmod 600 {path}")
        key = path.read_bytes()
    except FileNotFoundError:
        raise IntegrityError(f"the key {path.name} is missing", str(path), "restore it from a backup") from None
    except PermissionError:
        raise SettingsError("a key cannot be read", str(path), "run as the user that owns it") from None
    if len(key) != KEY_BYTES:
        raise IntegrityError(f"the key {path.name} is damaged", str(path), "restore it from a backup")
    return key


def make_key(path: Path) -> bytes:
    """A fresh random key, on disk before it is used. Never replaces one."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    key = secrets.token_bytes(KEY_BYTES)
    # Written aside and linked into place: a crash leaves either no key or a whole one.
    aside = path.with_suffix(f".{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, path)
    finally:
        aside.unlink()
    for folder in (path.parent, path.parent.parent):
        sync_folder(folder)
    return key


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

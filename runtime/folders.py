"""Who can have put a file or a folder where it is: private folders are made 0700, and what decides what may be done is
refused when somebody else could have written or exchanged it.

Never follows a link to the folder itself, and never changes the mode of a folder it did not make: told to use /tmp, it
would lock everybody else out.
"""

import os
import stat
from pathlib import Path
from typing import TextIO

from store.records.errors import SettingsError

WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def private_folder(folder: Path) -> Path:
    """`folder`, made with its parents if need be, owned by this user and closed to all others (0700).

    Raises SettingsError if it cannot be made, is a link or a file, belongs to another user, lets others in, or lies in
    a folder in which others could exchange it.
    """
    try:
        for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        above = [(parent, parent.stat()) for parent in folder.resolve().parents]
    except OSError as error:
        do = "choose another or fix its rights"
        raise SettingsError(f"the folder cannot be made: {error.strerror}", str(folder), do) from error
    if not stat.S_ISDIR(found.st_mode):
        raise SettingsError("a private folder must be a real folder, not a link or a file", str(folder), "remove it")
    if found.st_uid != os.geteuid():
        raise SettingsError("the folder belongs to another user", str(folder), "choose a folder of your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SettingsError("other users can enter the folder", str(folder), f"choose another, or: chmod 700 {folder}")
    for parent, status in above:
        if _exchangeable(status):
            raise SettingsError(f"others could exchange the folder in {parent}", str(folder), "choose another place")
    return folder


def only_ours(path: Path) -> Path:
    """`path`, a file or a folder that decides what may be done, if nobody but this user and root can have written it.

    Raises SettingsError if somebody else owns it or the folder it lies in, its group or others may write either (the
    service's own group, too: its members are those whom policy judges), a folder further up lets others exchange it,
    or it cannot be looked at. A link must pass where it lies and where it leads.
    """
    try:
        found = path.stat()
        places = dict.fromkeys(place.parent for place in (path.absolute(), path.resolve()))
        above = {parent: parent.stat() for place in places for parent in place.parents}
        folders = {place: place.stat() for place in places}
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", str(path), "check the path") from None
    if found.st_uid not in (os.geteuid(), 0):
        raise SettingsError("it belongs to another user", str(path), "remove it or make it yours")
    if stat.S_IMODE(found.st_mode) & WRITABLE:
        raise SettingsError("others can write it", str(path), f"chmod go-w {path}")
    for folder, status in folders.items():
        if _exchangeable(status, WRITABLE):
            raise SettingsError(f"others could exchange it in {folder}", str(path), f"chmod go-w {folder}")
    for folder, status in above.items():
        if _exchangeable(status):
            raise SettingsError(f"others could exchange it in {folder}", str(path), "choose another place")
    return path


def new_file(path: Path) -> TextIO:
    """A text file that was not there, open for writing, which only this user can read. Raises SettingsError."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot be written: {error.strerror}", str(path), "name a new file") from None


def _exchangeable(status: os.stat_result, writable: int = 0) -> bool:
    """Whether somebody else may rename what lies in a folder: its owner, or who may write where no sticky bit is.

    `writable` are the bits that let others in; if not given, those of this user's own group do not.
    """
    if status.st_uid not in (0, os.geteuid()):
        return True
    if status.st_mode & stat.S_ISVTX:
        return False
    own_group = status.st_gid in (0, os.getegid())
    return bool(status.st_mode & (writable or (stat.S_IWOTH if own_group else WRITABLE)))

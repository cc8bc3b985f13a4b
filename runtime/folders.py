"""Private folders: made 0700, and refused when somebody else could have put them there.

Never follows a link to the folder itself, and never changes the mode of a folder it did not make: told to use /tmp, it
would lock everybody else out.
"""

import os
import stat
from pathlib import Path

from store.records.errors import SettingsError


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


def only_ours(file: Path) -> Path:
    """`file`, if nobody but this user and root can have written it: it decides what may be done.

    Raises SettingsError if somebody else owns or may write it, or it cannot be looked at.
    """
    try:
        found = file.stat()
    except OSError as error:
        raise SettingsError(f"cannot read the file: {error.strerror}", str(file), "check the path") from None
    if found.st_uid not in (os.geteuid(), 0):
        raise SettingsError("the file belongs to another user", str(file), "remove it or make it yours")
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise SettingsError("others can write the file", str(file), f"chmod go-w {file}")
    return file


def _exchangeable(status: os.stat_result) -> bool:
    """Whether somebody else may rename what lies in a folder: its owner, or who may write where no sticky bit is."""
    if status.st_uid not in (0, os.geteuid()):
        return True
    if status.st_mode & stat.S_ISVTX:
        return False
    own_group = status.st_gid in (0, os.getegid())
    return bool(status.st_mode & (stat.S_IWOTH if own_group else stat.S_IWOTH | stat.S_IWGRP))

"""Private folders: made 0700, and refused when somebody else could have put them there.

Never follows a link to the folder itself and never changes the mode of a folder that another user owns.
"""

import os
import stat
from pathlib import Path

from store.records.errors import SettingsError


def private_folder(folder: Path) -> Path:
    """`folder`, made with its parents if need be, owned by this user and closed to all others (0700).

    Raises SettingsError if it cannot be made, is a link or a file, or belongs to another user.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise SettingsError(
            f"the folder cannot be made: {error.strerror}", str(folder), "choose another or fix its rights"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise SettingsError("a private folder must be a real folder, not a link or a file", str(folder), "remove it")
    if found.st_uid != os.geteuid():
        raise SettingsError("the folder belongs to another user", str(folder), "choose a folder of your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


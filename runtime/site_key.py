"""Who gives the site key: the folder that settings name, a file with the passphrase, or a person at the terminal.

A passphrase is never taken from an argument or from the environment: others can read both.
"""

import getpass
import sys
from collections.abc import Callable
from pathlib import Path

from runtime.settings import Settings
from store.keys.files import read_private
from store.keys.site_key import Site
from store.ledger.database import KEYS
from store.records.errors import SettingsError


def site(settings: Settings) -> Site:
    """Where this site's key is. Nothing is read or asked before the key is needed."""
    return Site(settings.site_key_dir or settings.data_dir / KEYS, passphrase(settings.passphrase_file))


def passphrase(file: Path | None, what: str = "the site key", *, new: bool = False) -> Callable[[], bytes]:
    """What gives a passphrase: a file's first line, or a person, who types a `new` one twice."""

    def give() -> bytes:
        return _read(file) if file else _typed(what, new)

    return give


def _read(file: Path) -> bytes:
    try:
        return read_private(file).partition(b"\n")[0]
    except OSError as error:
        raise SettingsError(f"the passphrase cannot be read: {error.strerror}", str(file), "check the path") from None


def _typed(what: str, new: bool) -> bytes:
    if not sys.stdin.isatty():
        do = "name a file that holds it in the setting passphrase_file, or with --passphrase-file"
        raise SettingsError(f"{what} needs its passphrase, and there is no terminal to ask at", do=do)
    typed = getpass.getpass(f"passphrase of {what}: ")
    if new and getpass.getpass("again: ") != typed:
        raise SettingsError("the two passphrases are not the same")
    return typed.encode()

"""The site key: the one key that opens all others, and where it comes from.

A file of mode 0600 in a folder that may be another medium's; a passphrase, stretched by scrypt; or the keyring of the
operating system, through the library `keyring`, which is asked for only then. It is never in an argument or in the
environment, and each has a name of its own: a new one stands beside the old one until that is destroyed.
"""

import re
import resource
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from store.keys.cipher import KEY_BYTES, Stretch
from store.keys.errors import Locked
from store.keys.files import destroy, make_key, read_key
from store.keys.source import Source
from store.records.canonical import Json
from store.records.errors import IntegrityError, SettingsError

SERVICE = "bailiwick"
"""Whose entries they are in the keyring."""

LOST = "the site key is missing: content cannot be opened, and none can be added"


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a site key in clear: which keystore it is for, its own name, and how to come by it."""

    store: str
    id: str
    source: Source
    stretch: Stretch | None = None

    def json(self) -> Json:
        """As plain JSON."""
        stretch = self.stretch.json() if self.stretch else None
        return {"store": self.store, "id": self.id, "source": str(self.source), "stretch": stretch}

    @classmethod
    def parse(cls, value: Json) -> "Header":
        """As `json` wrote it. Raises ValueError, TypeError or KeyError if it is none."""
        store, id = (bytes.fromhex(value[name]).hex() for name in ("store", "id"))
        source = Source(value["source"])
        return cls(store, id, source, Stretch.parse(value["stretch"]) if source is Source.PASSPHRASE else None)

    @property
    def name(self) -> str:
        """Of the file, or of the keyring's entry."""
        return f"site-{self.store}-{self.id}"


def _nobody() -> bytes:
    do = "name a file that holds it in the setting passphrase_file"
    raise SettingsError("the site key needs its passphrase, and nobody can be asked", do=do)


class Site:
    """The places of one site: a folder for key files, and whoever knows the passphrase (asked at most once)."""

    def __init__(self, folder: Path, passphrase: Callable[[], bytes] = _nobody) -> None:
        self.folder = folder
        self._ask = passphrase
        self._known = b""

    def make(self, store: str, source: Source) -> tuple[Header, bytes]:
        """A fresh site key for a keystore, kept at its source when this returns. Raises SettingsError."""
        _no_core()
        header = Header(store, secrets.token_hex(8), source, Stretch.fresh() if source is Source.PASSPHRASE else None)
        if source is Source.FILE:
            self._check_folder()
            try:
                return header, make_key(self._file(header))
            except OSError as error:
                do = "mount it or make the folder, or set another site_key_dir"
                raise SettingsError(f"the site key cannot be kept: {error.strerror}", str(self.folder), do) from None
        if header.stretch:
            return header, header.stretch.key(self._passphrase())
        key = secrets.token_bytes(KEY_BYTES)
        _keyring("set_password", SERVICE, header.name, key.hex())
        return header, key

    def fetch(self, header: Header) -> bytes:
        """The key. Raises Locked if it is not there, SettingsError if it cannot be asked for, IntegrityError if it is
        damaged."""
        _no_core()
        if header.source is Source.FILE:
            path = self._file(header)
            self._check_folder()
            if not path.exists():
                raise Locked(LOST, str(path), "mount or restore it: `bailiwick keys init --from BACKUP`")
            return read_key(path)
        if header.stretch:
            return header.stretch.key(self._passphrase())
        found = _keyring("get_password", SERVICE, header.name)
        if not found:
            raise Locked(LOST, f"keyring, {header.name}", "restore it: `bailiwick keys init --from BACKUP`")
        try:
            return bytes.fromhex(found)
        except ValueError:
            raise IntegrityError("the site key in the keyring is damaged", header.name) from None

    def keep(self, header: Header, key: bytes) -> None:
        """Put a key back where it was. Of a passphrase there is nothing to keep."""
        if header.source is Source.KEYRING:
            _keyring("set_password", SERVICE, header.name, key.hex())
        elif header.source is Source.FILE:
            make_key(self._file(header), key)

    def replace(self, header: Header, key: bytes) -> None:
        """Put a key in the place of one that does not open the keystore."""
        if header.source is Source.FILE:
            destroy(self._file(header))
        self.keep(header, key)

    def destroy_others(self, header: Header, old: Header | None) -> None:
        """Destroy every key file of this keystore but that of `header`, those that a crash left under another name
        among them, and the keyring's entry of `old`.

        Raises SettingsError if the folder that has `old` is not there.
        """
        if old and old.source is Source.FILE and not self.folder.is_dir():
            do = "mount it: the old site key is to be destroyed"
            raise SettingsError("the folder of the site key is not there", str(self.folder), do)
        ours = re.compile(rf"site-{header.store}-[0-9a-f]{{16}}\.(key|[0-9a-f]{{16}})")
        kept = self._file(header) if header.source is Source.FILE else None
        for path in sorted(self.folder.iterdir() if self.folder.is_dir() else ()):
            if ours.fullmatch(path.name) and path != kept:
                destroy(path, kept)
        other = old and old.source is Source.KEYRING and old.name != header.name
        if old and other and _keyring("get_password", SERVICE, old.name):
            _keyring("delete_password", SERVICE, old.name)

    def _check_folder(self) -> None:
        """Raise SettingsError if everybody can put files into the folder of the site key."""
        if self.folder.is_dir() and self.folder.stat().st_mode & stat.S_IWOTH:
            do = f"chmod o-w {self.folder}"
            raise SettingsError("everybody can write to the folder of the site key", str(self.folder), do)

    def _file(self, header: Header) -> Path:
        return self.folder / f"{header.name}.key"

    def _passphrase(self) -> bytes:
        self._known = self._known or self._ask()
        if not self._known:
            raise SettingsError("the passphrase is empty")
        return self._known


def _no_core() -> None:
    """Let no crash of a process that has keys write its memory to a file. To have it refuse inspection as well
    (PR_SET_DUMPABLE) would keep `doctor` from seeing its sockets."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _keyring(method: str, *arguments: str) -> Any:
    try:
        module: Any = import_module("keyring")
    except ImportError:
        do = "install it beside Bailiwick: `pip install keyring`"
        raise SettingsError("the system's keyring needs the library keyring, which is not there", do=do) from None
    try:
        return getattr(module, method)(*arguments)
    except Exception as error:  # whatever the system behind it raises
        what = f"the system's keyring does not answer: {type(error).__name__}"
        raise SettingsError(what, do="unlock it, or see `keyring diagnose`") from None

"""A backup of keys: keystore, site key and the other keys of a data folder, under a passphrase, in one file.

What it brings back opens what it opened then. Keys that the log says were shredded since are destroyed again at the
next start; shredding cannot reach the backup itself, whose passphrase opens it for as long as it is kept.
"""

import base64
import json
from pathlib import Path

from store.keys.cipher import Stretch, Unopened, seal, unseal
from store.keys.files import make_key, private_subfolder, read_key, read_private, write_private
from store.keys.keystore import FILE, Keystore
from store.keys.site_key import Header, Site
from store.keys.source import Source
from store.records.canonical import Json, canonical, parse
from store.records.errors import IntegrityError, SettingsError

FORMAT = 1
OTHERS = ("checkpoint.key",)
"""Keys of the folder that are in files of their own."""


def write_backup(path: Path, keystore: Keystore, passphrase: bytes) -> None:
    """Write the keys in the keystore's folder to a file of mode 0600 that is not there yet. Raises SettingsError."""
    if not passphrase:
        raise SettingsError("the passphrase is empty")
    if path.exists():
        raise SettingsError("there is something already", str(path), "name a file that does not exist")
    if path.resolve().parent == keystore.folder.resolve():
        raise SettingsError("a backup beside what it is of is none", str(path), "name a file in another folder")
    there = [keystore.folder / name for name in OTHERS if (keystore.folder / name).exists()]
    others = {each.name: read_key(each).hex() for each in there}
    inside = {"keystore": keystore.book, "site_key": keystore.secret.hex(), "others": others}
    stretch = Stretch.fresh()
    outside = {"format": FORMAT, "stretch": stretch.json()}
    sealed = seal(stretch.key(passphrase), canonical(inside), canonical(outside))
    try:
        write_private(path, json.dumps(outside | {"sealed": base64.b64encode(sealed).decode()}).encode() + b"\n")
    except OSError as error:
        raise SettingsError(f"the backup cannot be written: {error.strerror}", str(path), "choose another") from None


def restore(path: Path, folder: Path, site: Site, passphrase: bytes) -> None:
    """Put back what is missing: the whole keystore, or the site key of the one that is there; and the other keys.

    Replaces nothing but a site key that does not open its keystore. Raises SettingsError if nothing is missing,
    IntegrityError if the backup does not open or its site key is not the one of the keystore that is there.
    """
    inside = _opened(path, passphrase)
    header, key = Header.parse(inside["keystore"]["site"]), bytes.fromhex(inside["site_key"])
    private_subfolder(folder)
    missing = not (folder / FILE).exists()
    if not missing:
        if Keystore.open(folder, site).header != header:
            raise IntegrityError("the backup is older than the site key, which was renewed since", str(path))
    else:
        write_private(folder / FILE, json.dumps(inside["keystore"], indent=1).encode() + b"\n")
    for name, secret in inside["others"].items():
        if name in OTHERS and not (folder / name).exists():
            make_key(folder / name, bytes.fromhex(secret))
            missing = True
    try:
        if _opens(folder, site):
            if not missing:
                raise SettingsError("nothing is missing", str(folder))
        else:
            site.replace(header, key)
    except OSError as error:
        what = f"the site key cannot be kept: {error.strerror}"
        raise SettingsError(what, str(site.folder), "mount it, or set another site_key_dir") from None


def _opens(folder: Path, site: Site) -> bool:
    """Whether the site key that is there opens the keystore. Of a passphrase there is nothing to put back."""
    store = Keystore.open(folder, site)
    if store.header.source is Source.PASSPHRASE:
        return True
    try:
        store.unlock()
    except IntegrityError:  # missing, damaged, or another's
        return False
    return True


def _opened(path: Path, passphrase: bytes) -> Json:
    try:
        outside = parse(read_private(path))
        sealed = base64.b64decode(outside.pop("sealed"))
        inside = parse(unseal(Stretch.parse(outside["stretch"]).key(passphrase), sealed, canonical(outside)))
    except OSError as error:
        raise SettingsError(f"the backup cannot be read: {error.strerror}", str(path), "check the path") from None
    except Unopened:
        raise IntegrityError("the passphrase does not open the backup", str(path)) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise IntegrityError("this is no backup of keys", str(path)) from None
    return inside

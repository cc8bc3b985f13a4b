"""The keystore: the data keys of a site, each wrapped under the site key, in one file beside the database.

A data key is made for an owner's first content, and is on disk before that is. The file as a whole is sealed under the
site key, so that whoever can open it sees if anything in it was changed.

To destroy data keys, the others are wrapped under a new site key, and the old site key and the old file overwritten.
The moment at which the new file takes the old one's name decides: before it every key is there, after it the named ones
are gone, and whatever a crash left undone is done at the next start. A copy of the old file, wherever it is, opens with
the old site key and no other: which is gone, unless it comes from a passphrase that somebody still knows.
"""

import base64
import json
import os
import re
import secrets
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from store.keys.book import entry, sealed, text
from store.keys.cipher import KEY_BYTES, Unopened, seal, unseal
from store.keys.data_key import DataKey, Record
from store.keys.errors import Shredded
from store.keys.files import destroy, private_subfolder, read_private, sync_folder, write_private
from store.keys.scope import Owner, Scope
from store.keys.site_key import Header, Site
from store.keys.source import Source
from store.records.canonical import Json
from store.records.errors import IntegrityError, SettingsError

FILE, OLD = "keystore.json", "keystore.old"
FORMAT = 1
_LEFT = re.compile(r"keystore\.(old|[0-9a-f]{16})")
"""Names that only this file's writing leaves."""
RESTORE = "restore it from a backup: `bailiwick keys init --from BACKUP`"


class Keystore:
    """The keys of one data folder. Use `open` or `make`. Safe from any thread; one process at a time may write it."""

    def __init__(self, folder: Path, site: Site, book: Json) -> None:
        """`book` is what the file says. Raises IntegrityError if it is not one."""
        self.folder = folder
        self._path, self._old = folder / FILE, folder / OLD
        self._site = site
        self._lock = threading.RLock()
        self._book = book
        self._key = b""
        self._keys: dict[str, DataKey] = {}
        self._active: dict[Owner, DataKey] = {}
        self._gone: set[str] = set()
        """Keys that this process destroyed."""
        self._entries: dict[str, tuple[DataKey, Json]] = {}
        """What the file says of each key: a key that did not change need not be wrapped anew."""
        self._doubtful = False
        """Whether a write failed after its moment: nobody knows what the disk has."""
        try:
            if book["format"] != FORMAT:
                raise IntegrityError(f"the keystore has the format {book['format']}", str(self._path), "upgrade")
            self.header = Header.parse(book["site"])
            self.records = {record.id: record for record in map(Record.parse, book["keys"])}
            self.pending = {Record.parse(each).id: (Record.parse(each), str(each["by"])) for each in book["shredded"]}
            """Keys that are destroyed, and whom for, until the ledger has its tombstones."""
            self.lost = {bytes.fromhex(id).hex() for id in book.get("lost", ())}
            """Keys that are known to be lost: an older copy of the keystore was taken on purpose."""
        except (ValueError, TypeError, KeyError, AttributeError):
            raise IntegrityError("the keystore is damaged", str(self._path), RESTORE) from None

    @classmethod
    def open(cls, folder: Path, site: Site) -> "Keystore":
        """The keystore in a folder, its site key not yet asked for. Raises IntegrityError if there is none, or it is
        damaged, SettingsError if others can read it."""
        path = folder / FILE
        try:
            return cls(folder, site, json.loads(read_private(path)))
        except FileNotFoundError:
            raise IntegrityError("the keystore is missing", str(path), RESTORE) from None
        except (ValueError, RecursionError):
            raise IntegrityError("the keystore is damaged", str(path), RESTORE) from None

    @classmethod
    def make(cls, folder: Path, site: Site, source: Source = Source.FILE) -> "Keystore":
        """A keystore without data keys, under a fresh site key. Raises SettingsError if there is one."""
        private_subfolder(folder)
        if (folder / FILE).exists():
            raise SettingsError("there is a keystore already", str(folder / FILE), "`bailiwick keys rotate` renews it")
        header, key = site.make(secrets.token_hex(8), source)
        store = cls(folder, site, {"format": FORMAT, "site": header.json(), "keys": [], "shredded": []})
        store._write(header, key, (), {})
        return store

    @property
    def secret(self) -> bytes:
        """The site key, 32 bytes. Raises what `unlock` raises."""
        self.unlock()
        return self._key

    def unlock(self) -> None:
        """Fetch the site key and open every data key; at once if that has been done.

        Raises Locked if the site key is missing, SettingsError if it cannot be asked for, IntegrityError if key and
        keystore do not belong together.
        """
        if self._key:
            return
        with self._lock:
            if not self._key:
                self._open_with(self._site.fetch(self.header))

    def unlock_for_writing(self) -> None:
        """As `unlock`, then finish what a crash left undone."""
        with self._writing():
            self._finish()

    def key_for(self, owner: Owner) -> DataKey:
        """The key for an owner's new content; on disk before it is given. Raises what `unlock` raises."""
        found = self._active.get(owner)
        return found or self._added(owner)

    def key(self, id: str) -> DataKey:
        """The data key of this id. Raises Shredded if it was destroyed, IntegrityError if it is not there, and what
        `unlock` raises."""
        if id in self.pending or id in self._gone:
            raise Shredded("the content was shredded")
        self.unlock()
        try:
            return self._keys[id]
        except KeyError:
            raise IntegrityError(f"the data key {id} is not in the keystore", str(self._path), RESTORE) from None

    def takes(self, id: str) -> bool:
        """Whether this data key is there and takes new content."""
        record = self.records.get(id)
        return record is not None and not record.retired

    def retire(self, ids: Iterable[str]) -> None:
        """Let their owners' new content have new keys. These go on opening what is there."""
        with self._writing():
            found = [self._keys[id].retired() for id in ids if self.takes(id)]
            if found:
                changed = self._keys | {key.record.id: key for key in found}
                self._write(self.header, self._key, changed.values(), self.pending)

    def rekey(self, source: Source | None = None, site: Site | None = None) -> None:
        """Wrap all data keys under a new site key, from `source` and `site` or from where the old one came; destroy
        the old one."""
        self._without((), {}, source, site)

    def shred(self, scope: Scope, by: str) -> list[Record]:
        """Destroy the data keys of a scope. Their records; they are pending, for `by`, until they are settled."""
        with self._writing():
            self._finish()
            gone = self.covered(scope)
            if gone:
                self._without([record.id for record in gone], {record.id: (record, by) for record in gone})
            return gone

    def covered(self, scope: Scope) -> list[Record]:
        """The data keys of a scope."""
        return [record for record in self.records.values() if scope.covers(record.owner)]

    def drop(self, ids: Iterable[str]) -> None:
        """Destroy data keys under which there is nothing any more."""
        if gone := [id for id in ids if id in self.records]:
            self._without(gone, {})

    def forgo(self, ids: Iterable[str]) -> None:
        """Go on without keys that an older copy does not have. What is under them cannot be opened."""
        with self._writing():
            self.lost |= set(ids)
            self._write(self.header, self._key, self._keys.values(), self.pending)

    def settle(self, ids: Iterable[str]) -> None:
        """Forget pending ones: the ledger has their tombstones on disk."""
        with self._writing():
            pending = {id: each for id, each in self.pending.items() if id not in set(ids)}
            if pending != self.pending:
                self._write(self.header, self.secret, self._keys.values(), pending)

    @property
    def book(self) -> Json:
        """What the file says: all in clear but the wrapped keys."""
        return self._book

    def _without(
        self,
        gone: Collection[str],
        pending: dict[str, tuple[Record, str]],
        source: Source | None = None,
        site: Site | None = None,
    ) -> None:
        """Wrap all but these under a new site key, then destroy the old one and the old file."""
        with self._writing():
            self._finish()
            old, old_site, new_site = self.header, self._site, site or self._site
            kept = [key for id, key in self._keys.items() if id not in gone]
            header, key = new_site.make(old.store, source or old.source)
            os.link(self._path, self._old)
            sync_folder(self._old.parent)
            self._write(header, key, kept, self.pending | pending)
            self._site = new_site
            if new_site is not old_site:
                old_site.destroy_others(header, old)
            self._clear(old)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone, with every key at hand. Raises SettingsError if the files cannot be written."""
        with self._lock:
            self.unlock()
            if self._doubtful:
                what = "the keystore takes nothing more: nobody knows what the disk has of it"
                raise SettingsError(what, str(self._path), "see to the disk, then start again")
            try:
                yield
            except OSError as error:
                what = f"the keystore cannot be written: {error.strerror or type(error).__name__}"
                raise SettingsError(what, str(self._path), "see to the disk, then order it again") from None

    def _finish(self) -> None:
        """Do what a crash or a failure left undone of the last destruction."""
        old = self._old_header() if self._old.exists() and not self._old.samefile(self._path) else None
        self._clear(old)

    def _added(self, owner: Owner) -> DataKey:
        with self._writing():
            if owner not in self._active:  # else somebody else was faster
                record = Record(secrets.token_hex(16), owner, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
                fresh = DataKey.of(record, secrets.token_bytes(KEY_BYTES))
                self._write(self.header, self._key, (*self._keys.values(), fresh), self.pending)
            return self._active[owner]

    def _open_with(self, site_key: bytes) -> None:
        """Check the seal, and take the data keys out of their wrappings."""
        try:
            unseal(site_key, base64.b64decode(self._book["seal"]), sealed(self._book))
            keys = [
                DataKey.of(record, unseal(site_key, base64.b64decode(each["wrapped"]), record.place(self.header.id)))
                for record, each in zip(self.records.values(), self._book["keys"], strict=True)
            ]
        except (Unopened, ValueError, TypeError, KeyError):
            what = "the site key does not open the keystore: it is another's, or the keystore was changed"
            if self.header.source is Source.PASSPHRASE:
                what = "the passphrase does not open the keystore: it is not the right one, or the keystore was changed"
            raise IntegrityError(what, str(self._path)) from None
        self._entries = {key.record.id: (key, each) for key, each in zip(keys, self._book["keys"], strict=True)}
        self._take(site_key, keys)

    def _take(self, site_key: bytes, keys: Iterable[DataKey]) -> None:
        """Have these keys. The last step of any change: until then the old ones are in use."""
        found = {key.record.id: key for key in keys}
        self._keys = found
        self._active = {key.record.owner: key for key in found.values() if not key.record.retired}
        self._key = site_key

    def _write(
        self, header: Header, key: bytes, keys: Iterable[DataKey], pending: Mapping[str, tuple[Record, str]]
    ) -> None:
        """Put these keys on disk, in place of those that are there, and have them."""
        keys = tuple(keys)
        before = self._entries if key == self._key else {}
        entries = {each.record.id: (each, entry(each, header, key, before)) for each in keys}
        book = {
            "format": FORMAT,
            "site": header.json(),
            "keys": [entry for _, entry in entries.values()],
            "shredded": [record.json() | {"by": by} for record, by in pending.values()],
            "lost": sorted(self.lost),
        }
        book["seal"] = text(seal(key, b"", sealed(book)))
        self._put(json.dumps(book).encode() + b"\n")
        self._book, self.header, self._entries = book, header, entries
        self._gone |= self.records.keys() - entries.keys()
        self.records = {each.record.id: each.record for each in keys}
        self.pending = dict(pending)
        self._take(key, keys)

    def _put(self, data: bytes) -> None:
        try:
            write_private(self._path, data)
        except OSError:
            # In its place, and perhaps not durable: to write on from what is in memory could undo it.
            self._doubtful = self._path.read_bytes() == data
            raise

    def _clear(self, old: Header | None) -> None:
        """Destroy what is left of older keystores and of their site keys, in this order: the file names the key."""
        self._site.destroy_others(self.header, old)
        for path in sorted(self._path.parent.iterdir()):
            if _LEFT.fullmatch(path.name):
                destroy(path, self._path)

    def _old_header(self) -> Header | None:
        """Whose site key the old file was under; None if it has been overwritten, and therefore that one as well."""
        try:
            return Header.parse(json.loads(self._old.read_bytes())["site"])
        except (ValueError, TypeError, KeyError):
            return None

"""One layer of the registry: a folder with `registry.json` in it.

The file is replaced as a whole or not at all, under a lock that other processes respect.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.model import Model
from store.records.errors import SettingsError

SCHEMA = 1


@dataclass(slots=True)
class Stock:
    """The models of one folder by name, and the name that is the default for each kind."""

    models: dict[str, Model] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)


class Shelf:
    """A folder of models. A private one (a site's) is readable by its owner only, the shipped one by everybody."""

    def __init__(self, folder: Path, *, shipped: bool = False) -> None:
        self.folder = folder.absolute()
        self.shipped = shipped
        self._folder_mode, self._file_mode = (0o755, 0o644) if shipped else (0o700, 0o600)

    @property
    def file(self) -> Path:
        """The file that lists the models."""
        return self.folder / "registry.json"

    def read(self) -> Stock:
        """What stands in the folder; nothing, if there is no registry file. Raises SettingsError if it is damaged."""
        try:
            body = json.loads(self.file.read_bytes())
            models = [Model.parse(each, self.folder, self.shipped) for each in body["models"]]
            defaults = {str(kind): str(name) for kind, name in body["defaults"].items()}
        except (FileNotFoundError, NotADirectoryError):
            return Stock()
        except OSError as error:
            raise SettingsError(f"the model registry cannot be read: {error.strerror}", str(self.file)) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SettingsError(
                "the model registry is damaged", str(self.file), "restore it, or delete it and add the models again"
            ) from error
        return Stock({each.name: each for each in models}, defaults)

    @contextmanager
    def changing(self) -> Iterator[Stock]:
        """The stock, to be changed; written when the block ends without an error.

        Raises SettingsError if the folder cannot be written.
        """
        with self.writable(), self._locked():
            stock = self.read()
            yield stock
            models = [{**each.json(), "file": self._place(each.file)} for each in stock.models.values()]
            body: dict[str, Any] = {"schema": SCHEMA, "defaults": stock.defaults, "models": models}
            with self.replacing(self.file) as temporary:
                temporary.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")

    @contextmanager
    def writable(self) -> Iterator[None]:
        """Makes the folder; turns any failure to write in the block into one SettingsError that names the folder."""
        try:
            # One by one: with `parents` the data folder would be open to others, and no runtime would take it.
            for each in reversed([self.folder, *self.folder.parents]):
                each.mkdir(mode=self._folder_mode, exist_ok=True)
            yield
        except OSError as error:
            raise SettingsError(
                f"the model folder cannot be written: {error.strerror}", str(self.folder), "make it writable"
            ) from error

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """A temporary file to fill, which then takes the place of `path`: after a crash there is the old or the new."""
        handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(self._file_mode)
            os.fsync(handle)
            temporary.replace(path)
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._file_mode)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _place(self, file: Path) -> str:
        """A file of this folder is recorded by its name, so that the folder can be moved."""
        return str(file.relative_to(self.folder)) if file.is_relative_to(self.folder) else str(file)

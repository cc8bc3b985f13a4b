"""The computed state of a public prefix on disk: a system prompt or tool list that need not be computed at every start.

A file is of one model, one build of llama.cpp and one space, and holds a digest of all its bytes. It is read only if
nobody but its owner can write it, since llama.cpp trusts the state that it is given. Never for what belongs to a user:
what stands in it is as readable as the prompt itself.
"""

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from store.records.errors import IntegrityError, SettingsError

_MAGIC = b"bailiwick-prefix-1\n"
_LONGEST_HEADER = 4096


@dataclass(frozen=True, slots=True)
class PrefixFile:
    """A prefix: its tokens, and the state of the KV memory after them. `build` names the model and what ran it."""

    build: str
    space: str
    tokens: list[int]
    state: bytes

    def write(self, path: Path) -> None:
        """Writes the file, 0600, whole or not at all. Raises SettingsError if it cannot be written."""
        ids = np.asarray(self.tokens, "<i4").tobytes()
        header = {"build": self.build, "space": self.space, "tokens": len(self.tokens), "state": len(self.state)}
        header["sha256"] = hashlib.sha256(ids + self.state).hexdigest()
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + json.dumps(header).encode() + b"\n" + ids + self.state)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise SettingsError(f"the prefix cannot be saved: {error.strerror}", str(path), "free the disk") from error

    @classmethod
    def read(cls, path: Path) -> "PrefixFile":
        """The prefix in a file. Raises SettingsError if it cannot be read, IntegrityError if it is not as written."""
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
                    raise IntegrityError("others can write this prefix file", str(path), "delete it")
                data = file.read()
        except OSError as error:
            raise SettingsError(f"there is no readable prefix file: {error.strerror}", str(path), "save one") from error
        try:
            return cls._parse(data)
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError("the prefix file is not as it was written", str(path), "delete it") from error

    @classmethod
    def _parse(cls, data: bytes) -> "PrefixFile":
        end = data.index(b"\n", len(_MAGIC), len(_MAGIC) + _LONGEST_HEADER)
        header = json.loads(data[len(_MAGIC) : end])
        body = data[end + 1 :]
        ids = 4 * header["tokens"]
        if not data.startswith(_MAGIC) or len(body) != ids + header["state"] or ids <= 0:
            raise ValueError
        if hashlib.sha256(body).hexdigest() != header["sha256"]:
            raise ValueError
        return cls(str(header["build"]), str(header["space"]), np.frombuffer(body[:ids], "<i4").tolist(), body[ids:])

"""What agents remember, in a backup: a file of rows, each encrypted as the archive's payloads are, and a last line that
says how many and vouches for all.

Beside the log memory lies in the clear; here each row is under the data key of its owner. So who has only the backup
reads nothing, and what was shredded since opens nowhere. The last line holds the SHA-256 of all others and a MAC over
it and over the checkpoint of the log that the rows were copied with, under what follows from the key that signs those.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from store.keys.cipher import expand
from store.keys.errors import Shredded
from store.keys.keystore import Keystore
from store.keys.scope import Owner
from store.ledger.archive import Archive, Payload
from store.records.canonical import Json
from store.records.errors import IntegrityError

FILE = "memory"


def write(path: Path, rows: Iterable[tuple[Owner, Json]], archive: Archive) -> int:
    """Encrypt rows into a new file; how many. `sign` finishes it. Raises OSError, and what making a key raises."""
    count = 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        for owner, row in rows:
            packed = asdict(archive.pack(owner, row))
            json.dump(packed | {"data": base64.b64encode(packed["data"]).decode()}, file)
            file.write("\n")
            count += 1
    return count


def sign(path: Path, count: int, note: str, secret: bytes) -> None:
    """Write the last line, for the log of this checkpoint; on disk when this returns. `secret` signs checkpoints."""
    digest = _digest(path)
    with path.open("r+", encoding="ascii") as file:
        file.seek(0, os.SEEK_END)
        file.write(json.dumps({"rows": count, "sha256": digest, "mac": _mac(secret, digest, note)}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def check(path: Path, note: str, secret: bytes) -> int:
    """How many rows a file has. Raises IntegrityError unless it is whole, and signed for this checkpoint."""
    try:
        last = _last_line(path)
        said = json.loads(last)
        digest, good = _digest(path, -len(last)), _mac(secret, said["sha256"], note)
        if hmac.compare_digest(good, said["mac"]) and digest == said["sha256"]:
            return int(said["rows"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise IntegrityError("the memory in the backup is not what was written", str(path), "take another backup")


def read(path: Path, keystore: Keystore) -> Iterator[tuple[Owner, Json]]:
    """The rows of a file that `check` has passed, but for those whose owner's key is no more."""
    archive = Archive(keystore)
    with path.open(encoding="ascii") as file:
        for line in file:
            said = json.loads(line)
            if "mac" in said:
                return
            record = keystore.records.get(said["key"])
            if record is None:
                continue
            payload = Payload(**{**said, "data": base64.b64decode(said["data"])})
            try:
                yield record.owner, archive.unpack(payload)
            except Shredded:
                continue


def _last_line(path: Path) -> str:
    last = ""
    with path.open(encoding="ascii") as file:
        for line in file:
            last = line
    return last


def _digest(path: Path, until: int = 0) -> str:
    """Hex SHA-256 of a file, but for as many bytes at its end as `until` is below 0."""
    left, digest = path.stat().st_size + until, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (part := file.read(min(left, 2**20))):
            digest.update(part)
            left -= len(part)
    return digest.hexdigest()


def _mac(secret: bytes, digest: str, note: str) -> str:
    key = expand(secret, b"bailiwick memory in a backup")
    return hmac.digest(key, f"{digest}\n{note}".encode(), "sha256").hex()

"""An audit folder: what an auditor takes away and checks without us.

    events.jsonl       the canonical bytes of each event, a line each: what is hashed, chained and signed
    checkpoints.jsonl  every signed checkpoint up to the one that covers all of them
    destroyed.jsonl    each payload that is no more, and the event that says so
    tile/              the Merkle tree over them, in the tiles of C2SP's tlog-tiles
    key.txt            the public key; it proves nothing unless its fingerprint is known from elsewhere
    events.parquet     the same events as columns, for whatever tool the auditor has
    verify.py          the verifier, one file

It is made of the answers to queries, so it needs no more rights than reading, and no runtime.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterable
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from runtime.gateway.backend import Queries
from runtime.gateway.messages import ProofView
from store import verify
from store.records.canonical import Json, canonical
from store.records.errors import IntegrityError, SettingsError

PAGE = 500
"""Events or checkpoints that are asked for at once."""


async def export(queries: Queries, folder: Path) -> verify.Audit:
    """Write an audit folder, which must not exist, and check it. Raises SettingsError if it cannot be made, Denied
    unless the caller may read the whole log, IntegrityError if what the ledger gave is not what was signed."""
    newest = await queries.export()
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise SettingsError("there is something already", str(folder), "name a folder that does not exist") from None
    except OSError as error:
        raise SettingsError(f"the folder cannot be made: {error.strerror}", str(folder), "choose another") from None
    try:
        await _write(queries, folder, newest)
        found = await asyncio.to_thread(verify.audit, folder)
    except OSError as error:
        raise SettingsError(f"the folder cannot be written: {error.strerror}", str(folder), "choose another") from None
    if found.problems:
        raise IntegrityError(f"the log is not what was recorded: {found.problems[0]}", str(folder))
    return found


async def _write(queries: Queries, folder: Path, newest: ProofView) -> None:
    (folder / verify.KEY_FILE).write_text(newest.key + "\n")
    shutil.copy(verify.__file__, folder / "verify.py")
    size = verify.Checkpoint.parse(newest.text.rpartition("\n\n")[0] + "\n").size
    with (folder / verify.CHECKPOINTS_FILE).open("w") as file:
        await _checkpoints(queries, size, file)
    with (folder / verify.DESTROYED_FILE).open("w") as file:
        await _destroyed(queries, size, file)
    with (folder / verify.EVENTS_FILE).open("wb") as lines, _Columns(folder / "events.parquet") as columns:
        peaks, tiles = verify.Peaks(), verify.Tiles()
        async for page in _pages(queries, size):
            for event in page:
                line = canonical(event)
                lines.write(line + b"\n")
                _store(folder, tiles.add(peaks.append(verify.leaf_hash(line))))
            columns.write(page)
        _store(folder, tiles.rest())


def _store(folder: Path, tiles: Iterable[tuple[str, bytes]]) -> None:
    for path, data in tiles:
        file = folder / verify.TILES_FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


async def _checkpoints(queries: Queries, size: int, file: IO[str]) -> None:
    last = 0
    while last < size and (found := await queries.checkpoints(last, PAGE)):
        upto = [each for each in found if each.size <= size]
        file.writelines(json.dumps({"time": each.time, "note": each.note}) + "\n" for each in upto)
        last = found[-1].size


async def _destroyed(queries: Queries, size: int, file: IO[str]) -> None:
    event, id = 0, ""
    while event <= size and (found := await queries.destroyed(event, id, PAGE)):
        upto = [each for each in found if each.event <= size]
        file.writelines(json.dumps({"id": each.id, "event": each.event}) + "\n" for each in upto)
        event, id = found[-1].event, found[-1].id


async def _pages(queries: Queries, size: int) -> AsyncIterator[list[dict[str, Json]]]:
    after = 0
    while after < size and (views := await queries.events(after, limit=min(PAGE, size - after))):
        after = views[-1].event["seq"]
        yield [view.event for view in views]


class _Columns:
    """A Parquet file of events; labels are their JSON text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def __enter__(self) -> "_Columns":
        return self

    def write(self, events: list[dict[str, Json]]) -> None:
        arrow: Any = import_module("pyarrow")  # it has no types
        rows = [event | {"labels": event["labels"] and canonical(event["labels"]).decode()} for event in events]
        schema = arrow.schema(
            [(name, arrow.int64() if isinstance(value, int) else arrow.string()) for name, value in rows[0].items()]
        )
        if self._writer is None:
            self._writer = import_module("pyarrow.parquet").ParquetWriter(self._path, schema, compression="zstd")
        self._writer.write_table(arrow.Table.from_pylist(rows, schema=schema))

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()

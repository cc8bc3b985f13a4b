"""Rewriting: a table without some of its rows takes the old one's place, and every file of the old one is overwritten.

LanceDB changes no file. What is deleted stays in the versions before, in the index of the words, and in data files
until they are compacted, which it does when it thinks it worth while: only a new table lets go of a row for sure.

The rename of the old folder is the moment. Before it a crash leaves the old table and a new one that is thrown away;
after it the new table, whole and on disk, and an old one that is destroyed. Nobody may use the tables meanwhile.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from store.keys.files import destroy_tree, sync_folder, sync_tree

NEW, OLD = "-new.lance", ".erased"
BATCH = 4096
"""Rows in memory at a time."""


async def without(connection: Any, folder: Path, name: str, ids: Collection[str]) -> None:
    """Write the table `name` anew beside itself, without the rows of these ids; on disk when this returns. Its index is
    left out: whoever opens a table that has none makes it."""
    table = await connection.open_table(name)
    new = await connection.create_table(name + NEW.removesuffix(".lance"), schema=await table.schema())
    async for batch in await table.query().to_batches(max_batch_length=BATCH):
        await new.add(batch.filter([id not in ids for id in batch.column("id").to_pylist()]))
    sync_tree(folder / f"{name}{NEW}")


def exchange(folder: Path, name: str) -> None:
    """Let the new table take the old one's place, and destroy the old one. Raises OSError."""
    (folder / f"{name}.lance").rename(folder / f"{name}{OLD}")
    sync_folder(folder)
    finish(folder)


def finish(folder: Path) -> None:
    """Do what a crash left undone of an exchange, or undo what it left of a rewriting. Raises OSError."""
    for new in sorted(folder.glob(f"*{NEW}")):
        name = new.name.removesuffix(NEW)
        if (folder / f"{name}{OLD}").exists() and not (folder / f"{name}.lance").exists():
            new.rename(folder / f"{name}.lance")
            sync_folder(folder)
        else:
            destroy_tree(new)
    for old in sorted(folder.glob(f"*{OLD}")):
        destroy_tree(old)

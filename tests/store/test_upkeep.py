"""Upkeep of memory: what is erased is in no file any more, what is copied is whole, a crash leaves one or the other."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from store.keys import files as files_
from store.keys.scope import Owner
from store.memory import rewriting
from store.memory.memory import TIDY_EVERY, Memory
from store.memory.rows import table_name
from store.memory.upkeep import Upkeep
from store.records.errors import IntegrityError, Unreachable
from store.records.labels import trusted
from tests.store.test_memory import embed

SECRET = "Ophelia Krantz lies in room twelve"


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    opened = Memory.open(tmp_path / "memory", embed)
    yield opened
    opened.close()


@pytest.fixture
def upkeep(memory: Memory) -> Upkeep:
    return Upkeep(memory.tables)


async def keep(memory: Memory, id: str, user: str = "ada", tenant: str = "acme", text: str = SECRET) -> None:
    said = {"tags": {"of": user}, "labels": trusted(tenant, "user"), "run": id.partition("/")[0]}
    await memory.remember(id=id, tenant=tenant, user=user, text=f"{text}, says {user}", **said)


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def files(folder: Path, tenant: str) -> set[str]:
    """The names of the files of a tenant's data and indexes, each of which is random."""
    there = (folder / "memory" / f"{table_name(tenant)}.lance").rglob("*")
    return {path.name for path in there if path.is_file() and path.parent.name != "_versions"}


async def test_an_erased_row_is_in_no_file_and_what_others_said_is_still_found(
    memory: Memory, upkeep: Upkeep, tmp_path: Path
) -> None:
    for number in range(TIDY_EVERY + 3):  # the one of so many that a compaction would not find worth its while
        await keep(memory, f"r{number}/1", "bob", text=f"incident word{number}")
    await keep(memory, "r1/1", "eve", tenant="other")
    await keep(memory, "r99/1")
    assert files_with(tmp_path, f"{SECRET}, says ada")
    [memo] = [each for each in await asyncio.to_thread(upkeep.memos, "acme") if each.owner.user == "ada"]
    assert (memo.id, memo.owner, memo.run) == ("r99/1", Owner("acme", "ada", "standard"), "r99")
    assert memo.size == len(f"{SECRET}, says ada") + len('{"of": "ada"}') + 32 * 4
    before = files(tmp_path, "acme")
    await asyncio.to_thread(upkeep.erase, "acme", [memo.id])
    assert not files_with(tmp_path, "says ada")
    assert not before & files(tmp_path, "acme")  # nor is there an index of words from before, which is compressed
    assert "ada" not in {each.user for each in await memory.recall("acme", "Ophelia Krantz", limit=99)}
    assert "incident word7, says bob" in [each.text for each in await memory.recall("acme", "word7", limit=3)]
    assert (await memory.recall("other", "Ophelia", limit=1))[0].user == "eve"
    await keep(memory, "r99/2", text="something else")
    assert (await memory.recall("acme", "something else", limit=1))[0].id == "r99/2"


async def test_to_erase_everything_leaves_a_table_that_can_be_used(memory: Memory, upkeep: Upkeep) -> None:
    await keep(memory, "r1/1")
    await asyncio.to_thread(upkeep.erase, "acme", ["r1/1", "none"])
    await asyncio.to_thread(upkeep.erase, "nobody", ["r1/1"])
    assert await memory.recall("acme", "Ophelia") == []
    await keep(memory, "r1/1", text="anew")
    assert [each.text for each in await memory.recall("acme", "Ophelia")] == ["anew, says ada"]


async def test_what_is_being_remembered_is_waited_for_and_who_was_cancelled_writes_no_more(
    memory: Memory, upkeep: Upkeep
) -> None:
    await keep(memory, "r0/1", "bob")
    writes = [asyncio.create_task(keep(memory, f"r{number}/1")) for number in range(40)]
    while not await asyncio.to_thread(lambda: [each for each in upkeep.memos("acme") if each.owner.user == "ada"]):
        pass
    for each in writes:  # as their runs are, before anything of theirs may be shredded
        each.cancel()
    await asyncio.gather(*writes, return_exceptions=True)

    def forget() -> None:
        upkeep.erase("acme", [each.id for each in upkeep.memos("acme") if each.owner.user == "ada"])

    recalled = asyncio.create_task(memory.recall("acme", "Ophelia"))
    await asyncio.to_thread(forget)
    await recalled
    await asyncio.sleep(0.1)
    assert [each.owner.user for each in await asyncio.to_thread(upkeep.memos, "acme")] == ["bob"]


async def test_a_copy_is_of_one_moment_and_comes_back_whole(memory: Memory, upkeep: Upkeep, tmp_path: Path) -> None:
    for number in range(3):
        await keep(memory, f"r{number}/1", "bob", text=f"incident {number}")
    await keep(memory, "r1/1", "eve", tenant="other")
    rows = await asyncio.to_thread(upkeep.snapshot, ["acme", "other", "none"])
    await keep(memory, "r9/1")
    again = Memory.open(tmp_path / "again", embed)
    await asyncio.to_thread(Upkeep(again.tables).put, rows)
    for tenant in ("acme", "other"):
        want = [each for each in await memory.recall(tenant, "incident 2", limit=9) if each.user != "ada"]
        assert {each.id: each for each in await again.recall(tenant, "incident 2", limit=9)}.keys() == {
            each.id for each in want
        }
    (found,) = await again.recall("acme", "incident 2", limit=1)
    (there,) = await memory.recall("acme", "incident 2", limit=1)
    assert (found.text, found.tags, found.labels, found.time) == (there.text, there.tags, there.labels, there.time)
    again.close()
    with pytest.raises(IntegrityError, match="a tenant that the log does not know"):
        await asyncio.to_thread(upkeep.snapshot, ["acme"])


def killed_at(monkeypatch: pytest.MonkeyPatch, folder: Path, copies: Path) -> Callable[[], list[Path]]:
    """Copies the folder before every call that changes it; gives the copies."""
    made: list[Path] = []

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def copied(*arguments: Any, **more: Any) -> Any:
            made.append(Path(shutil.copytree(folder, copies / str(len(made)))))
            return call(*arguments, **more)

        return copied

    for module, name in ((files_, "destroy"), (files_, "sync_folder"), (rewriting, "sync_folder"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    monkeypatch.setattr(Path, "rename", watched(Path.rename))
    return lambda: made


async def test_killed_at_any_moment_all_is_there_or_the_named_rows_are_gone(
    memory: Memory, upkeep: Upkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await keep(memory, f"r{number}/1", "bob", text=f"incident {number}")
    await keep(memory, "r9/1")
    with monkeypatch.context() as patched:
        copies = killed_at(patched, tmp_path / "memory", tmp_path)
        await asyncio.to_thread(upkeep.erase, "acme", ["r9/1"])
    found = []
    for copy in copies():
        again = Memory.open(copy, embed)
        Upkeep(again.tables).finish()  # as the next start does
        users = sorted(each.user for each in await again.recall("acme", "Ophelia", limit=9))
        assert users[-3:] == ["bob"] * 3
        found.append(len(users))
        assert bool(files_with(copy, "says ada")) == (len(users) == 4)
        assert not [each for each in copy.iterdir() if each.name.endswith((rewriting.NEW, rewriting.OLD))]
        again.close()
    turn = found.index(3)
    assert 1 < turn < len(found) - 5
    assert found == [4] * turn + [3] * (len(found) - turn)


async def test_an_exchange_that_failed_in_between_is_finished_by_the_next_use(
    memory: Memory, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(memory, "r1/1")
    await keep(memory, "r2/1", "bob")

    def failing(folder: Path, name: str) -> None:
        (folder / f"{name}.lance").rename(folder / f"{name}{rewriting.OLD}")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(rewriting, "exchange", failing)
        with pytest.raises(Unreachable, match="the disk is full"):
            await asyncio.to_thread(upkeep.erase, "acme", ["r1/1"])
    assert [each.user for each in await memory.recall("acme", "Ophelia")] == ["bob"]
    assert not files_with(memory.tables.folder, "says ada")


async def test_a_rewriting_that_failed_changes_nothing(
    memory: Memory, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(memory, "r1/1")

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(rewriting, "sync_tree", full)
        with pytest.raises(Unreachable, match="the disk is full"):
            await asyncio.to_thread(upkeep.erase, "acme", ["r1/1"])
    assert [each.user for each in await memory.recall("acme", "Ophelia")] == ["ada"]
    assert len(list(memory.tables.folder.iterdir())) == 1

"""`bailiwick storage`, `backup` and `restore` as their users meet them, with a runtime and without."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from store.ledger.ledger import Ledger
from store.memory.memory import Memory
from store.records.labels import trusted

TASK = b"find out about r1aaaa"


@pytest.fixture
def words(tmp_path: Path) -> str:
    """A file with a passphrase."""
    path = tmp_path / "words"
    path.touch(mode=0o600)
    path.write_text("correct horse\n")
    return str(path)


@pytest.mark.parametrize("holder", [False, True])
def test_storage_tells_what_takes_space(
    command: Any, ledger: Path, holder: bool, request: pytest.FixtureRequest
) -> None:
    if holder:
        request.getfixturevalue("runtime")
    found = command("storage", "--json").json
    rows = {each["table"]: each["rows"] for each in found["tables"]}
    assert (rows["events"], rows["payloads"], rows["checkpoints"]) == (6, 4, 1)
    assert sum(each["bytes"] for each in found["tables"]) <= found["files"]["database"]
    [content] = found["content"]
    assert (content["tenant"], content["retention"], content["payloads"]) == ("local", "standard", 4)
    assert found["files"]["database"] == (ledger / "ledger.duckdb").stat().st_size
    assert found["files"]["keys"] == sum(each.stat().st_size for each in (ledger / "keys").iterdir())
    assert found["events_per_day"] == 6
    assert found["bytes_per_day"] == pytest.approx(found["files"]["database"] + found["files"]["log"])
    assert found["full_in_days"] == pytest.approx(found["free"] / found["bytes_per_day"])
    said = command("storage", BAILIWICK_FREE_SPACE_MB="7").out
    assert "no new run starts below 7 MiB" in said
    assert "6 events" in said


@pytest.mark.parametrize("holder", [False, True])
def test_a_backup_is_made_with_a_runtime_and_without(
    command: Any, ledger: Path, holder: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if holder:
        request.getfixturevalue("runtime")
    done = command("backup", "../copy")
    assert (done.code, done.out) == (
        0,
        f"backed up: 6 events, 0 memories, verified, without keys: {tmp_path}/typed-in/../copy\n",
    )
    files = sorted(path.name for path in (tmp_path / "copy").iterdir())
    assert files == ["checkpoint", "ledger.duckdb", "memory"]
    assert not [path for path in (tmp_path / "copy").iterdir() if TASK in path.read_bytes()]
    assert "ledger.backed-up" in command("audit", "tail", "-n", "1").out
    again = command("backup", "../copy")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "something already" in again.err


def test_a_restore_needs_the_runtime_stopped(command: Any, ledger: Path, runtime: None, tmp_path: Path) -> None:
    assert command("backup", str(tmp_path / "copy")).code == 0
    refused = command("restore", str(tmp_path / "copy"), "--replace")
    assert (refused.code, refused.err.count("\n")) == (3, 1)
    assert "the data folder is in use by process PID" in refused.err


def test_back_and_what_an_auditor_sees_of_it(command: Any, ledger: Path, tmp_path: Path) -> None:
    copy, mirror = str(tmp_path / "copy"), tmp_path / "mirror"
    mirror.mkdir()
    there = {"BAILIWICK_MIRROR_DIR": str(mirror)}
    assert command("backup", copy, **there).code == 0
    assert command("keys", "hold", "--tenant", "local", "--reason", "case 17", **there).code == 0
    kept = tmp_path / "kept"
    kept.write_text(command("audit", "checkpoint").out)
    assert command("restore", copy, **there).code == 2
    done = command("restore", copy, "--replace", **there)
    assert done.code == 0, done.err
    assert "restored: 6 events, epoch 4; event 7 says so\nmissing since: 2 signed events\nparked: r2bbbb\n" in done.out
    assert command("runs", "show", "r2", "--json").json["status"] == "parked"
    assert "what the run did after event 4 is not known" in command("runs", "show", "r2").out
    lost = command("audit", "prove", "--since", str(kept))
    assert (lost.code, lost.err.count("\n")) == (7, 1)
    assert "the first 8 events are not those that the checkpoint signed" in lost.err
    assert "event 7 says that a backup of 6 events was restored; what came after is lost" in lost.err
    assert command("audit", "verify", **there).code == 0
    assert command("keys", "hold", "--tenant", "local", "--reason", "case 18", **there).code == 0  # it starts
    assert "ledger.restored" in command("audit", "tail").out
    assert "find out about" in command("runs", "show", "r1").out


def test_a_new_machine_needs_the_keys_first(command: Any, ledger: Path, tmp_path: Path, words: str) -> None:
    copy = tmp_path / "copy"
    assert command("backup", str(copy), "--passphrase-file", words).code == 2
    assert command("backup", str(copy), "--with-keys").code == 2  # there is no terminal to ask at
    assert not copy.exists()
    assert command("backup", str(copy), "--with-keys", "--passphrase-file", words).code == 0
    assert (copy / "keys").stat().st_mode & 0o777 == 0o600
    shutil.rmtree(ledger)
    refused = command("restore", str(copy))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert f"bailiwick keys init --from {copy}/keys" in refused.err
    assert command("keys", "init", "--from", str(copy / "keys"), "--passphrase-file", words).code == 0
    done = command("restore", str(copy), "--json")
    assert (done.code, done.json["parked"], done.json["closed"]) == (0, ["r2bbbb"], 0)
    assert "find out about" in command("runs", "show", "r1").out
    with Ledger.open(ledger) as opened:
        assert opened.epoch == done.json["epoch"] + 2  # that the run was looked at was written in one of its own


async def embed(texts: list[str]) -> list[list[float]]:
    return [[1.0, float(len(text)), 2.0] for text in texts]


async def remember(folder: Path, *users: str) -> None:
    memory = Memory.open(folder / "memory", embed)
    for user in users:
        given = {"tenant": "local", "user": user, "text": f"{user} said so", "run": "r1aaaa"}
        await memory.remember(id=f"r1aaaa/{user}", tags={}, labels=trusted("local", "user"), **given)
    memory.close()


async def remembered(folder: Path) -> list[str]:
    memory = Memory.open(folder / "memory", embed)
    found = await memory.recall("local", "said", limit=9)
    memory.close()
    return sorted(each.user for each in found)


@pytest.mark.parametrize("holder", [False, True])
def test_memory_is_shown_backed_up_shredded_and_brought_back(
    command: Any, ledger: Path, holder: bool, request: pytest.FixtureRequest
) -> None:
    asyncio.run(remember(ledger, "bob", "eve"))
    if holder:
        request.getfixturevalue("runtime")
    found = command("storage", "--json").json["memory"]
    assert found == [
        {"tenant": "local", "retention": "standard", "memories": 2, "bytes": 2 * (len("bob said so{}") + 12)}
    ]
    assert "MEMORIES" in command("storage").out
    assert "6 events, 2 memories, verified" in command("backup", "../copy").out
    done = command("keys", "shred", "--tenant", "local", "--user", "eve")
    assert (done.code, done.out) == (0, "destroyed: tenant local, user eve: 0 payloads, 1 memories; events 8\n"), (
        done.err
    )
    assert not [path for path in ledger.rglob("*") if path.is_file() and b"eve said so" in path.read_bytes()]
    if holder:
        return
    back = command("restore", "../copy", "--replace")
    assert back.code == 0, back.err
    assert "remembered again: 1 memories\n" in back.out
    assert "1 memories did not come back: the keys of those whose they were are no more\n" in back.err
    assert asyncio.run(remembered(ledger)) == ["bob"]


def test_a_backup_from_before_says_that_it_has_no_memory(command: Any, ledger: Path, tmp_path: Path) -> None:
    asyncio.run(remember(ledger, "bob"))
    assert command("backup", "../copy").code == 0
    (tmp_path / "copy" / "memory").unlink()
    back = command("restore", "../copy", "--replace")
    assert (back.code, back.err) == (0, "bailiwick: the backup has no memory: agents remember nothing from before\n")
    assert asyncio.run(remembered(ledger)) == []

"""Memory: what is remembered comes back with its labels, to its tenant, and not past a classification."""

import asyncio
import math
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from store.memory.memory import TIDY_EVERY, Memory
from store.records.errors import Denied, IntegrityError, SettingsError
from store.records.labels import Classification, Integrity, Labels

DIMENSIONS = 32
FIRST = """
import asyncio, gc, sys, weakref
from contextvars import ContextVar
from pathlib import Path
from store.memory.memory import Memory
from store.records.labels import trusted

class Asker: ...
asker = ContextVar("asker")

async def embed(texts):
    return [[1.0, 0.5] for _ in texts]

async def ask(memory):
    asker.set(one := Asker())
    kept = {"tenant": "acme", "user": "ann", "tags": {}, "labels": trusted("acme", "user"), "run": "r1"}
    await memory.remember(id="1", text="orders points at a dead port", **kept)
    await memory.recall("acme", "dead port")
    return weakref.ref(one)

async def main():
    memory = Memory.open(Path(sys.argv[1]), embed)
    one = await asyncio.create_task(ask(memory))
    await asyncio.sleep(0)
    gc.collect()
    print("kept" if one() else "let go")
    memory.close()

asyncio.run(main())
"""


async def embed(texts: list[str]) -> list[list[float]]:
    """Words hashed into a unit vector: equal words make near vectors, and the same text always the same one."""
    vectors = []
    for text in texts:
        vector = [1e-3] * DIMENSIONS
        for word in text.lower().split():
            vector[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
        length = math.hypot(*vector)
        vectors.append([number / length for number in vector])
    return vectors


@pytest.fixture
def memory(tmp_path: Path):
    opened = Memory.open(tmp_path / "memory", embed)
    yield opened
    opened.close()


def labels(
    tenant: str = "acme",
    classification: Classification = Classification.INTERNAL,
    integrity: Integrity = Integrity.UNTRUSTED,
) -> Labels:
    return Labels(tenant, classification, integrity, ("tool:ops.read_logs", "user"))


async def keep(memory: Memory, id: str, text: str, kept: Labels | None = None, **more: str) -> None:
    kept = kept or labels()
    await memory.remember(id=id, tenant=kept.tenant, user="alice", text=text, tags=more, labels=kept, run="r1")


async def test_a_memory_comes_back_whole(memory: Memory) -> None:
    kept = labels(classification=Classification.CONFIDENTIAL, integrity=Integrity.TRUSTED)
    await keep(memory, "r1/4", "the quota of inventory was full", kept, fault="quota")
    (found,) = await memory.recall("acme", "quota full")
    assert (found.id, found.text, found.tags) == ("r1/4", "the quota of inventory was full", {"fault": "quota"})
    assert found.labels == kept
    assert (found.user, found.run, found.retention) == ("alice", "r1", "standard")
    assert found.time.endswith("Z")


def test_memory_keeps_nothing_of_who_asked_and_says_nothing(tmp_path: Path) -> None:
    # In a process of its own: LanceDB keeps the context of its first call.
    done = subprocess.run([sys.executable, "-c", FIRST, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "let go\n", "")


async def test_the_nearest_come_first_by_meaning_and_by_word(memory: Memory) -> None:
    await keep(memory, "1", "orders points at a dead port")
    await keep(memory, "2", "the quota of inventory was full")
    await keep(memory, "3", "gateway restarts in a loop after rollout ticket-4711")
    assert [found.id for found in await memory.recall("acme", "quota full", limit=1)] == ["2"]
    assert [found.id for found in await memory.recall("acme", "ticket-4711", limit=1)] == ["3"]
    assert [found.score for found in await memory.recall("acme", "dead port")] == sorted(
        (found.score for found in await memory.recall("acme", "dead port")), reverse=True
    )


async def test_an_id_is_remembered_once(memory: Memory) -> None:
    await keep(memory, "r1/4", "first words")
    await asyncio.gather(*(keep(memory, "r1/4", "other words") for _ in range(4)))
    assert [found.text for found in await memory.recall("acme", "words", limit=9)] == ["first words"]


async def test_filters_run_before_retrieval(memory: Memory) -> None:
    for number in range(20):
        await keep(memory, f"secret-{number}", "quota full", labels(classification=Classification.RESTRICTED))
    await keep(memory, "open", "something about another quota", labels(classification=Classification.PUBLIC))
    found = await memory.recall("acme", "quota full", limit=3, max_classification=Classification.INTERNAL)
    assert [each.id for each in found] == ["open"]


@pytest.mark.parametrize("other", ["other", "../acme", "acme/../acme", "acme'--", "", "ACME", "a" * 500, "ä\0"])
async def test_a_tenant_sees_its_own_table_and_names_reach_no_path(memory: Memory, tmp_path: Path, other: str) -> None:
    await keep(memory, "1", "ours")
    assert await memory.recall(other, "ours") == []
    await keep(memory, "1", "theirs", labels(other))
    assert [found.text for found in await memory.recall("acme", "ours theirs", limit=9)] == ["ours"]
    assert [found.labels.tenant for found in await memory.recall(other, "ours theirs", limit=9)] == [other]
    assert [path.name for path in tmp_path.iterdir()] == ["memory"]
    assert len(list((tmp_path / "memory").iterdir())) == 2


async def test_a_text_is_not_remembered_for_another_tenant(memory: Memory) -> None:
    with pytest.raises(Denied):
        await memory.remember(id="1", tenant="acme", user="a", text="x", tags={}, labels=labels("other"), run="r")
    assert await memory.recall("acme", "x") == []


async def test_reading_makes_no_table(memory: Memory, tmp_path: Path) -> None:
    assert await memory.recall("acme", "anything") == []
    assert list((tmp_path / "memory").iterdir()) == []


@pytest.mark.parametrize("query", ["", '"', "a AND (", "*", "field:x", "'; DROP", "the", "日本語", "\0", "x " * 5000])
async def test_any_text_is_a_query(memory: Memory, query: str) -> None:
    await keep(memory, "1", "the quota was full")
    assert [found.id for found in await memory.recall("acme", query)] == ["1"]


async def test_a_limit_of_nothing_gives_nothing(memory: Memory) -> None:
    await keep(memory, "1", "the quota was full")
    assert await memory.recall("acme", "quota", limit=0) == []


async def test_memory_outlives_its_process_and_compaction(tmp_path: Path) -> None:
    for part in range(2):
        memory = Memory.open(tmp_path, embed)
        for number in range(TIDY_EVERY // 2 + 3):
            await keep(memory, f"{part}-{number}", f"incident part{part} number{number}")
        memory.close()
        memory.close()
    memory = Memory.open(tmp_path, embed)
    assert len(await memory.recall("acme", "incident", limit=500)) == 2 * (TIDY_EVERY // 2 + 3)
    assert "1-7" in [found.id for found in await memory.recall("acme", "part1 number7", limit=3)]
    memory.close()


async def test_another_embedding_model_is_noticed(memory: Memory, tmp_path: Path) -> None:
    await keep(memory, "1", "kept")

    async def shorter(texts: list[str]) -> list[list[float]]:
        return [vector[:8] for vector in await embed(texts)]

    other = Memory.open(tmp_path / "memory", shorter)
    with pytest.raises(SettingsError, match="32 dimensions, the embedding model gives 8"):
        await other.recall("acme", "kept")
    with pytest.raises(SettingsError, match="32 dimensions"):
        await keep(other, "2", "kept")
    other.close()


@pytest.mark.parametrize("vector", [[], [float("nan")], [float("inf"), 1.0]])
async def test_a_vector_that_is_none_is_refused(tmp_path: Path, vector: list[float]) -> None:
    async def broken(texts: list[str]) -> list[list[float]]:
        return [vector for _ in texts]

    with pytest.raises(SettingsError, match="no usable vector"):
        await keep(Memory.open(tmp_path, broken), "1", "text")


async def test_a_damaged_table_is_an_integrity_error(memory: Memory, tmp_path: Path) -> None:
    await keep(memory, "1", "kept")
    memory.close()
    for path in tmp_path.rglob("*.manifest"):
        path.write_bytes(b"junk")
    again = Memory.open(tmp_path / "memory", embed)
    with pytest.raises(IntegrityError, match="cannot be used"):
        await again.recall("acme", "kept")
    again.close()


async def test_a_table_that_a_full_disk_cut_short_is_made_anew(memory: Memory, tmp_path: Path) -> None:
    await keep(memory, "1", "a text")
    memory.close()
    (table,) = (tmp_path / "memory").glob("*.lance")
    for file in [*table.glob("_versions/*"), *table.glob("data/*")]:
        file.unlink()
    again = Memory.open(tmp_path / "memory", embed)
    assert await again.recall("acme", "a text") == []
    await keep(again, "2", "another text")
    assert [found.id for found in await again.recall("acme", "another text")] == ["2"]
    again.close()


def test_a_folder_that_cannot_be_used_is_a_settings_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SettingsError, match="cannot be opened"):
        Memory.open(tmp_path / "file" / "memory", embed)


def test_the_folder_is_for_the_owner_alone(memory: Memory, tmp_path: Path) -> None:
    assert (tmp_path / "memory").stat().st_mode & 0o777 == 0o700

"""What becomes of memory with the content of its owners: shredded, held, swept, backed up and brought back."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from store.keys.scope import Scope
from store.keys.site_key import Site
from store.ledger.backup import back_up
from store.ledger.ledger import Ledger
from store.ledger.restore import Restored, restore
from store.ledger.storage import measure
from store.ledger.verify import verify
from store.memory.memory import Memory
from store.memory.upkeep import Upkeep
from store.records.errors import Denied, IntegrityError
from store.records.kinds import Kind
from store.records.labels import trusted
from tests.store.test_memory import embed
from tests.store.test_shredding import files_with, said

SECRET = "Ophelia Krantz lies in room twelve"


class Life:
    """A ledger and its memory, open."""

    def __init__(self, folder: Path) -> None:
        self.memory = Memory.open(folder / "memory", embed)
        self.ledger = Ledger.open(folder, memos=Upkeep(self.memory.tables))

    def keep(self, id: str, user: str = "ada", tenant: str = "acme", text: str = SECRET, **more: str) -> None:
        said = {"tags": {}, "labels": trusted(tenant, "user"), "run": id.partition("/")[0]}
        asyncio.run(self.memory.remember(id=id, tenant=tenant, user=user, text=f"{text}, says {user}", **said, **more))

    def users(self, tenant: str = "acme") -> list[str]:
        return sorted(each.user for each in asyncio.run(self.memory.recall(tenant, "Ophelia", limit=99)))


@contextmanager
def life(folder: Path) -> Iterator[Life]:
    opened = Life(folder)
    try:
        yield opened
    finally:
        opened.ledger.close()
        opened.memory.close()


@contextmanager
def copied_before_each_change(patch: pytest.MonkeyPatch, folder: Path, to: Path) -> Iterator[list[Path]]:
    """Before each call that changes a name in a folder, a copy is made of what a kill would leave then."""
    copies: list[Path] = []

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **more: Any) -> Any:
            copies.append(Path(shutil.copytree(folder, to / f"copy-{len(copies)}", symlinks=True)))
            return call(*arguments, **more)

        return made

    with patch.context() as patched:
        for where, name in ((os, "link"), (os, "unlink"), (Path, "unlink"), (Path, "rename"), (Path, "replace")):
            patched.setattr(where, name, watched(getattr(where, name)))
        yield copies


def filled(folder: Path, draft: Any) -> None:
    """Ada and Bob of one tenant, and an Ada of another, have content and things remembered."""
    with life(folder) as at:
        for user, tenant in (("ada", "acme"), ("bob", "acme"), ("ada", "other")):
            said(at.ledger, draft, user, f"{user} of {tenant}", tenant=tenant, labels=None)
            at.keep(f"r-{user}/1", user, tenant)


def go_back(folder: Path, place: Path) -> Restored:
    return restore(place, folder, Site(folder / "keys"), "acme", "root", replace=True, memory=Upkeep.open)


def test_a_users_memory_goes_with_the_users_content_and_nobody_elses(folder: Path, draft: Any) -> None:
    filled(folder, draft)
    with life(folder) as at:
        at.keep("r-ada/2", retention="brief")
        assert files_with(folder, b"says ada")
        gone = at.ledger.keeper.shred(Scope("acme", "ada"), "root")
        assert (gone.payloads, gone.keys, gone.memories) == (1, 2, 2)
        told = {at.ledger.payload(event.payload)["class"]: event for event in at.ledger.events(kinds=["keys.shredded"])}
        assert at.ledger.payload(told["standard"].payload)["memories"] == 1
        assert at.ledger.payload(told["brief"].payload)["memories"] == 1  # it had no payload, and no key before
        assert (at.users(), at.users("other")) == (["bob"], ["ada"])
        assert at.ledger.keeper.shred(Scope("other"), "root").memories == 1
        assert not files_with(folder, b"says ada")
        assert files_with(folder, b"says bob")
        assert verify(at.ledger).ok
    with life(folder) as at:
        assert (at.users(), at.users("other")) == (["bob"], [])


def test_a_class_goes_without_the_others(folder: Path, draft: Any) -> None:
    filled(folder, draft)
    with life(folder) as at:
        at.keep("r-ada/2", retention="brief")
        assert at.ledger.keeper.shred(Scope("acme", None, "standard"), "root").memories == 2
        assert (at.users(), at.users("other")) == (["ada"], ["ada"])


def test_what_is_held_or_needed_by_an_open_run_stays(folder: Path, draft: Any, aged: Callable[[int], None]) -> None:
    filled(folder, draft)
    with life(folder) as at:
        at.ledger.keeper.hold(Scope("acme", "ada"), "counsel", "case 17")
        said(at.ledger, draft, "bob", kind=Kind.RUN_SUBMITTED, run="r")
        at.keep("r/1", "bob")
        for user in ("ada", "bob"):
            with pytest.raises(Denied):
                at.ledger.keeper.shred(Scope("acme", user), "root")
        aged(10)
        [acme, other] = at.ledger.keeper.sweep({"standard": 5, "brief": 5}, "root", dry_run=True)
        assert (acme.memories, other.memories) == (1, 1)
        assert [len(at.users(each)) for each in ("acme", "other")] == [3, 1]
        assert at.ledger.keeper.sweep({"standard": 0}, "root") == []
        swept = at.ledger.keeper.sweep({"standard": 5}, "root")
        assert [(str(each.scope), each.payloads, each.memories) for each in swept] == [
            ("tenant acme, class standard", 1, 1),
            ("tenant other, class standard", 1, 1),
        ]
        assert at.ledger.payload(at.ledger.events(kinds=["payloads.swept"])[0].payload)["memories"] == 1
        assert (at.users(), at.users("other")) == (["ada", "bob"], [])
        assert files_with(folder, b"says bob")
        at.ledger.append(draft(Kind.RUN_ENDED, run="r", decision="completed")).wait()
        aged(20)
        [swept] = at.ledger.keeper.sweep({"standard": 5}, "root")
        assert swept.memories == 1
        assert at.users() == ["ada"]
        assert not files_with(folder, b"says bob")
        assert verify(at.ledger).ok


def test_killed_before_any_change_of_a_file_the_next_start_ends_it(
    folder: Path, draft: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(folder, draft)
    with life(folder) as at, copied_before_each_change(monkeypatch, folder, tmp_path) as copies:
        at.ledger.keeper.shred(Scope("acme", "ada"), "root")
    found = []
    for copy in copies:
        with life(copy) as at:
            events = at.ledger.events(kinds=[Kind.KEYS_SHREDDED])
            found.append(len(events))
            assert (at.users(), at.users("other")) == (["bob"] if events else ["ada", "bob"], ["ada"])
            assert [at.ledger.payload(each.payload)["memories"] for each in events] == [1] * len(events)
            assert not at.ledger.keystore.pending
            tables = {each.relative_to(copy).parts[1] for each in files_with(copy, b"says ada")}
            assert len(tables) == (1 if events else 2)  # the other tenant's
            assert verify(at.ledger).ok
        shutil.rmtree(copy)
    turn = found.index(1)
    assert 3 < turn < len(found) - 10
    assert found == [0] * turn + [1] * (len(found) - turn)


def test_a_backup_has_the_memory_encrypted_and_a_restore_brings_it_back(
    folder: Path, draft: Any, tmp_path: Path
) -> None:
    filled(folder, draft)
    place = tmp_path / "backup"
    with life(folder) as at:
        done = back_up(at.ledger, place, "acme", "root")
        assert done.memories == 3
        assert not files_with(place, b"Ophelia")
        assert (place / "memory").stat().st_mode & 0o777 == 0o600
        before = asyncio.run(at.memory.recall("acme", "Ophelia bob", limit=1))
        at.keep("r-bob/2", "bob", text="remembered after the backup")
    back = go_back(folder, place)
    assert (back.memories, back.forgotten) == (3, 0)
    assert not files_with(folder, b"after the backup")  # what was there before is kept, but not in the clear
    assert (Path(back.aside) / "memory").stat().st_size > (place / "memory").stat().st_size
    assert (folder / "memory").stat().st_mode & 0o777 == 0o700
    with life(folder) as at:
        assert (at.users(), at.users("other")) == (["ada", "bob"], ["ada"])
        assert asyncio.run(at.memory.recall("acme", "Ophelia bob", limit=1)) == before
        at.keep("r-bob/2", "bob", text="works on")


def test_a_restore_revives_nothing_of_who_was_shredded_since(folder: Path, draft: Any, tmp_path: Path) -> None:
    filled(folder, draft)
    place = tmp_path / "backup"
    with life(folder) as at:
        back_up(at.ledger, place, "acme", "root")
        at.ledger.keeper.shred(Scope("acme", "ada"), "root")
        at.keep("r-ada/9", text="afterwards")  # a new key, which opens nothing of before
    back = go_back(folder, place)
    assert (back.memories, back.forgotten) == (3, 1)
    tables = {each.relative_to(folder).parts[1] for each in files_with(folder, b"says ada")}
    assert len(tables) == 1  # the other tenant's
    with life(folder) as at:
        assert (at.users(), at.users("other")) == (["bob"], ["ada"])


def test_a_backup_from_before_brings_no_memory(folder: Path, draft: Any, tmp_path: Path) -> None:
    filled(folder, draft)
    with Ledger.open(folder) as ledger:
        assert back_up(ledger, tmp_path / "backup", "acme", "root").memories is None
    assert go_back(folder, tmp_path / "backup").memories is None
    with life(folder) as at:
        assert at.users() == at.users("other") == []


@pytest.mark.parametrize("harm", ["flip", "cut", "drop", "double", "empty", "other"])
def test_a_damaged_memory_is_refused_and_nothing_is_changed(
    folder: Path, draft: Any, tmp_path: Path, harm: str
) -> None:
    filled(folder, draft)
    place = tmp_path / "backup"
    with life(folder) as at:
        back_up(at.ledger, place, "acme", "root")
        back_up(at.ledger, tmp_path / "later", "acme", "root")
    path, lines = place / "memory", (place / "memory").read_text().splitlines(keepends=True)
    changed = {
        "flip": "".join(lines).replace('"size": ', '"size": 1', 1),
        "cut": "".join(lines)[:-9],
        "drop": "".join(lines[1:]),
        "double": "".join([lines[0], *lines]),
        "empty": "",
        "other": (tmp_path / "later" / "memory").read_text(),
    }[harm]
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(IntegrityError, match="the memory in the backup is not what was written"):
        go_back(folder, place)
    with life(folder) as at:
        assert (at.users(), at.users("other")) == (["ada", "bob"], ["ada"])
    assert not (folder / "restoring").exists()


def test_a_restore_that_was_killed_leaves_log_and_memory_of_one_time(
    folder: Path, draft: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(folder, draft)
    with life(folder) as at:
        back_up(at.ledger, tmp_path / "backup", "acme", "root")
        at.keep("r-eve/1", "eve")
    with copied_before_each_change(monkeypatch, folder, tmp_path) as copies:
        go_back(folder, tmp_path / "backup")
    found = []
    for copy in copies:
        with life(copy) as at:
            restored = at.ledger.events(kinds=[Kind.LEDGER_RESTORED])
            assert bool(at.ledger.events(kinds=[Kind.LEDGER_BACKED_UP])) is not bool(restored)
            assert at.users() == (["ada", "bob"] if restored else ["ada", "bob", "eve"]), copy
            found.append(bool(restored))
        assert not (copy / "restoring").exists()
    assert found == sorted(found)
    assert {True, False} == set(found)


def test_storage_tells_of_memory_by_tenant_and_class(folder: Path, draft: Any) -> None:
    filled(folder, draft)
    with life(folder) as at:
        at.keep("r-ada/2", text="x", retention="brief")
        memory = measure(at.ledger).memory
        each = len(f"{SECRET}, says ada{{}}") + 32 * 4
        assert memory == {
            ("acme", "standard"): (2, 2 * each),
            ("acme", "brief"): (1, len("x, says ada{}") + 32 * 4),
            ("other", "standard"): (1, each),
        }

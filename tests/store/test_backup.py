"""Backup and restore of real ledgers: what a backup holds, what a restore brings back, and what it never does."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from store.keys.scope import Scope
from store.keys.site_key import Site
from store.ledger import restore as module
from store.ledger import staging
from store.ledger.backup import back_up
from store.ledger.errors import LedgerFailed
from store.ledger.gap import held_back
from store.ledger.journal import Journal
from store.ledger.ledger import Ledger
from store.ledger.restore import Restored, restore
from store.ledger.verify import verify
from store.records.errors import IntegrityError, SettingsError, Unreachable
from store.records.event import Draft
from store.records.kinds import Kind
from store.verify import open_checkpoint

SAID = "Ophelia Krantz"
MakeDraft = Callable[..., Draft]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the backup goes."""
    return tmp_path / "backup"


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def run(ledger: Ledger, draft: MakeDraft, name: str, *kinds: Kind) -> None:
    for kind in kinds:
        decision = "completed" if kind is Kind.RUN_ENDED else ""
        ledger.append(draft(kind, run=name, principal="ada", decision=decision), {"text": f"{SAID} {name}"}).wait()


def go_back(folder: Path, place: Path, **more: Any) -> Restored:
    return restore(place, folder, Site(folder / "keys"), "acme", "root", replace=True, **more)


def test_a_backup_is_private_verified_signed_and_told_of(ledger: Ledger, draft: MakeDraft, place: Path) -> None:
    run(ledger, draft, "r1", Kind.RUN_SUBMITTED, Kind.RUN_ENDED)
    done = back_up(ledger, place, "acme", "root")
    assert sorted(each.name for each in place.iterdir()) == ["checkpoint", "ledger.duckdb"]
    assert place.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in place.iterdir()} == {0o600}
    signed = open_checkpoint((place / "checkpoint").read_text(), ledger.proofs.key)
    assert (done.events, signed.size) == (2, 2)
    assert [each for each in place.iterdir() if SAID.encode() in each.read_bytes()] == []
    assert list(place.parent.glob(".backup*")) == []
    last = ledger.events()[-1]
    assert (last.kind, last.cause, last.fingerprint) == (Kind.LEDGER_BACKED_UP, 2, signed.root.hex())
    with pytest.raises(SettingsError, match="something already"):
        back_up(ledger, place, "acme", "root")


def test_a_backup_beside_appends_is_of_one_event(ledger: Ledger, draft: MakeDraft, place: Path) -> None:
    enough, stop = threading.Event(), threading.Event()

    def append() -> None:
        while not stop.is_set():
            ledger.append(draft(), {"x": ledger.last_seq()}).wait()
            if ledger.last_seq() > 100:
                enough.set()

    thread = threading.Thread(target=append)
    thread.start()
    enough.wait()
    done = back_up(ledger, place, "acme", "root")
    stop.set()
    thread.join()
    with duckdb.connect(str(place / "ledger.duckdb"), read_only=True) as copy:
        [(count, last)] = copy.execute("SELECT count(*), max(seq) FROM events").fetchall()
        [(newest,)] = copy.execute("SELECT max(size) FROM checkpoints").fetchall()
    assert count == last == newest == done.events < ledger.last_seq()
    assert verify(ledger).ok


def test_a_backup_of_a_damaged_ledger_is_refused_and_leaves_nothing(
    folder: Path, draft: MakeDraft, place: Path
) -> None:
    with Ledger.open(folder) as ledger:
        run(ledger, draft, "r1", Kind.RUN_SUBMITTED)
        assert ledger.events()
        ledger._connection.cursor().execute("UPDATE events SET principal = 'eve'")
        with pytest.raises(IntegrityError, match="event 1 is not what was recorded"):
            back_up(ledger, place, "acme", "root")
        assert ledger.last_seq() == 1
    assert list(place.parent.glob("*backup*")) == []


def test_what_cannot_be_backed_up_is_one_error(ledger: Ledger, draft: MakeDraft, tmp_path: Path, place: Path) -> None:
    with pytest.raises(SettingsError, match="the ledger is empty"):
        back_up(ledger, place, "acme", "root")
    ledger.append(draft()).wait()
    with pytest.raises(SettingsError, match="No such file"):
        back_up(ledger, tmp_path / "nowhere" / "backup", "acme", "root")
    ledger.close()
    with pytest.raises(LedgerFailed):
        back_up(ledger, place, "acme", "root")


def test_a_restore_goes_back_under_a_new_epoch_and_says_what_is_missing(
    folder: Path, draft: MakeDraft, place: Path
) -> None:
    with Ledger.open(folder) as ledger:
        run(ledger, draft, "r1", Kind.RUN_SUBMITTED)
        run(ledger, draft, "r2", Kind.RUN_SUBMITTED, Kind.RUN_ENDED)
        run(ledger, draft, "r3", Kind.RUN_SUBMITTED, Kind.RUN_PAUSED)
        back_up(ledger, place, "acme", "root")
    for _ in range(3):
        with Ledger.open(folder) as ledger:
            run(ledger, draft, "r1", Kind.EFFECT_INTENT)
            epoch, last, kept = ledger.epoch, ledger.last_seq(), ledger.proofs.checkpoint()
    done = go_back(folder, place)
    assert (done.kept, done.signed, done.epoch, done.parked) == (5, last, epoch + 1, ("r1", "r3"))
    with Ledger.open(folder) as ledger:
        assert ledger.epoch == epoch + 2
        [gap] = ledger.events(kinds=[Kind.LEDGER_RESTORED])
        assert (gap.seq, gap.cause, gap.step, gap.decision) == (6, 5, str(last), "gap")
        assert gap.fingerprint == open_checkpoint(kept, ledger.proofs.key).root.hex()
        parked = ledger.events(kinds=[Kind.RUN_PARKED])
        assert [(each.run, each.decision, each.cause) for each in parked] == [
            ("r1", "restored", 6),
            ("r3", "restored", 6),
        ]
        assert "what the run did after event 1 is not known" in ledger.payload(parked[0].payload)["text"]
        assert {row.run: row.status for row in ledger.runs()} == {"r1": "parked", "r2": "completed", "r3": "paused"}
        assert ledger.held_back() == {"r1", "r3"}
        run(ledger, draft, "r1", Kind.SIGNAL_RECEIVED)  # a signal is no order to go on
        run(ledger, draft, "r3", Kind.RUN_RESUMED, Kind.RUN_PARKED)
        assert held_back(ledger.reader) == {"r1"}
        assert verify(ledger).ok
        with pytest.raises(IntegrityError, match="event 6 says that a backup of 5 events was restored"):
            ledger.proofs.since(kept)
        for _ in range(20):
            ledger.append(draft())
        ledger.flush()
        with pytest.raises(IntegrityError, match="event 6 says"):  # nor when there are as many events again
            ledger.proofs.since(kept)
    old = Path(done.aside)
    assert old.stat().st_mode & 0o777 == 0o700
    shutil.copytree(folder / "keys", old / "keys")
    with Ledger.open(old) as before:
        assert before.last_seq() == last
    assert not (folder / "restoring").exists()


def test_a_mirror_accepts_the_restore_and_nothing_else(
    folder: Path, draft: MakeDraft, place: Path, mirror: Path
) -> None:
    with Ledger.open(folder, mirror=mirror) as ledger:
        ledger.append(draft())
        back_up(ledger, place, "acme", "root")
    for _ in range(3):
        with Ledger.open(folder, mirror=mirror) as ledger:
            ledger.append(draft())
            last = ledger.last_seq() + 1
    done = go_back(folder, place, mirror=mirror)
    assert (done.kept, done.signed) == (1, last)
    for count in range(1, 8):
        with Ledger.open(folder, mirror=mirror) as ledger:
            ledger.append(draft())
            ledger.flush()
            assert verify(ledger).problems == (), count
    shutil.copytree(folder, folder.with_name("cut"))
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute("DELETE FROM events WHERE seq > 3; DELETE FROM checkpoints WHERE size > 3")
    with pytest.raises(IntegrityError, match="a mirrored checkpoint signed 9 events, and there are 3"):
        Ledger.open(folder, mirror=mirror)


def test_a_ledger_that_was_put_back_by_hand_is_refused_by_its_mirror(
    folder: Path, draft: MakeDraft, place: Path, mirror: Path
) -> None:
    with Ledger.open(folder, mirror=mirror) as ledger:
        ledger.append(draft())
        back_up(ledger, place, "acme", "root")
    shutil.copy(place / "ledger.duckdb", folder / "ledger.duckdb")
    with pytest.raises(IntegrityError, match="a mirrored checkpoint signed 2 events, and there are 1"):
        Ledger.open(folder, mirror=mirror)
    assert go_back(folder, place, mirror=mirror).signed == 2  # the mirror tells what the old ledger no longer does
    with Ledger.open(folder, mirror=mirror) as ledger:
        assert verify(ledger).ok


def test_what_was_shredded_or_swept_since_stays_destroyed(
    folder: Path, draft: MakeDraft, place: Path, aged: Callable[[int], None]
) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft(principal="ada"), {"text": SAID})
        ledger.append(draft(principal="bob", retention="short"), {"text": "bob's"})
        ledger.append(draft(principal="eve"), {"text": "eve's"})
        back_up(ledger, place, "acme", "root")
        keys = (folder / "keys").with_name("kept")
        shutil.copytree(folder / "keys", keys)
        ledger.keeper.shred(Scope("acme", "ada"), "root")
    aged(9)  # bob's is out of date
    with Ledger.open(folder) as ledger:
        assert [each.payloads for each in ledger.keeper.sweep({"short": 1}, "root")] == [1]
    shutil.rmtree(folder / "keys")
    shutil.copytree(keys, folder / "keys")  # as a backup of the keys would bring them back
    done = go_back(folder, place)
    assert (done.destroyed, done.closed) == (2, 0)
    with Ledger.open(folder) as ledger:
        owners = {record.owner.user for record in ledger.keystore.records.values()}
        assert "ada" not in owners
        found = verify(ledger)
        assert (found.problems, found.destroyed) == ((), 2)
        assert [ledger.payload(each.payload)["text"] for each in ledger.events(after=2, limit=1)] == ["eve's"]


def test_without_the_old_ledger_content_without_a_key_is_counted_and_reported(
    folder: Path, draft: MakeDraft, place: Path
) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft(principal="ada"), {"text": SAID})
        back_up(ledger, place, "acme", "root")
        ledger.keeper.shred(Scope("acme", "ada"), "root")
    (folder / "ledger.duckdb").unlink()
    done = go_back(folder, place)
    assert (done.destroyed, done.closed, done.aside) == (0, 1, "")
    with Ledger.open(folder) as ledger:
        assert "is not in the keystore" in verify(ledger).problems[0]


def test_a_damaged_ledger_is_replaced_and_that_it_told_nothing_is_said(
    folder: Path, draft: MakeDraft, place: Path
) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft())
        back_up(ledger, place, "acme", "root")
    (folder / "ledger.duckdb").write_bytes(b"\0" * 4096)
    done = go_back(folder, place)
    assert "cannot be opened" in done.trouble
    assert (Path(done.aside) / "ledger.duckdb").read_bytes() == b"\0" * 4096
    with Ledger.open(folder) as ledger:
        assert verify(ledger).ok


@pytest.mark.parametrize("name", ["ledger.duckdb", "checkpoint"])
def test_a_backup_that_was_changed_is_refused_and_nothing_is_changed(
    folder: Path, draft: MakeDraft, place: Path, name: str
) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft())
        back_up(ledger, place, "acme", "root")
        last = ledger.last_seq()
    if name == "checkpoint":
        (place / name).write_text("another\n")
    else:
        with duckdb.connect(str(place / name)) as connection:
            connection.execute("UPDATE events SET actor = 'eve'")
    with pytest.raises(IntegrityError, match="the backup"):
        go_back(folder, place)
    with Ledger.open(folder) as ledger:
        assert ledger.last_seq() == last
    assert not (folder / "restoring").exists()


def test_a_restore_is_refused_where_it_would_do_harm(
    folder: Path, draft: MakeDraft, place: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="no backup"):
        go_back(folder, tmp_path)
    with Ledger.open(folder) as ledger:
        ledger.append(draft())
        back_up(ledger, place, "acme", "root")
        with pytest.raises(Unreachable, match="in use"):
            go_back(folder, place)
    with pytest.raises(SettingsError, match="--replace"):
        restore(place, folder, Site(folder / "keys"), "acme", "root")
    with pytest.raises(SettingsError, match="the keys are not there"):
        go_back(tmp_path / "fresh", place)
    with Ledger.open(tmp_path / "other") as other:
        other.append(draft()).wait()
    with pytest.raises(IntegrityError, match="the backup is not what was recorded"):
        go_back(tmp_path / "other", place)


def test_a_restore_destroys_nothing_that_a_backup_puts_under_anothers_key(
    folder: Path, draft: MakeDraft, place: Path
) -> None:
    with Ledger.open(folder) as ledger:
        ada = ledger.append(draft(principal="ada"), {"text": SAID}).wait()
        ledger.append(draft(principal="bob"), {"text": SAID}).wait()
        back_up(ledger, place, "acme", "root")
        (key,) = (id for id, record in ledger.keystore.records.items() if record.owner.user == "bob")
        ledger.keeper.shred(Scope("acme", "bob"), "root")
    with duckdb.connect(str(place / "ledger.duckdb")) as connection:
        connection.execute("UPDATE payloads SET key = ? WHERE id = ?", [key, ada.payload])
    with pytest.raises(IntegrityError, match="content of tenant acme, user ada, class standard stands under another"):
        go_back(folder, place)
    with Ledger.open(folder) as ledger:
        assert ledger.payload(ada.payload) == {"text": SAID}
        assert verify(ledger).problems == ()


def test_what_was_shredded_before_does_not_travel(folder: Path, draft: MakeDraft, place: Path) -> None:
    with Ledger.open(folder) as ledger:
        event = ledger.append(draft(principal="ada"), {"text": SAID * 50}).wait()
        ledger.append(draft(principal="bob"), {"text": "bob's"}).wait()
        sealed = bytes(ledger.reader.payload(event.payload).data)
    with Ledger.open(folder) as ledger:
        assert sealed in (folder / "ledger.duckdb").read_bytes()
        ledger.keeper.shred(Scope("acme", "ada"), "root")
    assert sealed in (folder / "ledger.duckdb").read_bytes()  # DuckDB leaves it, encrypted, in its file
    with Ledger.open(folder) as ledger:
        back_up(ledger, place, "acme", "root")
    assert sealed not in (place / "ledger.duckdb").read_bytes()


@pytest.mark.parametrize("step", ["stage", "_known", "_say", "_park", "take_over", "sync_folder", "_tell"])
def test_a_restore_that_was_interrupted_leaves_one_log_and_can_be_done_again(
    folder: Path, draft: MakeDraft, place: Path, mirror: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with Ledger.open(folder, mirror=mirror) as ledger:
        run(ledger, draft, "r1", Kind.RUN_SUBMITTED)
        back_up(ledger, place, "acme", "root")
        last = ledger.last_seq()
    with monkeypatch.context() as interrupted:
        interrupted.setattr(staging if step == "sync_folder" else module, step, stopped)
        interrupted.setattr(shutil, "rmtree", lambda *_, **__: None)  # a crash would clean nothing up
        with pytest.raises(KeyboardInterrupt):
            go_back(folder, place, mirror=mirror)
    if step != "_tell":
        with Ledger.open(folder, mirror=mirror) as ledger:
            assert ledger.last_seq() == last
    done = go_back(folder, place, mirror=mirror)
    assert (done.kept, done.parked) == (1, ("r1",))
    with Ledger.open(folder, mirror=mirror) as ledger:
        assert verify(ledger).ok
    assert not (folder / "restoring").exists()


def test_a_mirror_that_was_away_or_full_is_not_passed_over_later(
    folder: Path, draft: MakeDraft, place: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Ledger.open(folder, mirror=mirror) as ledger:
        ledger.append(draft())
        back_up(ledger, place, "acme", "root")
    assert go_back(folder, place).signed == 2  # the old ledger tells
    with Ledger.open(folder) as ledger:
        assert ledger.last_seq() == 2
    with pytest.raises(IntegrityError, match="that a mirrored checkpoint signed"):
        Ledger.open(folder, mirror=mirror)
    with monkeypatch.context() as trouble:
        trouble.setattr(module.Mirror, "keep", full)
        with pytest.raises(SettingsError, match="the mirror could not be told: No space left"):
            go_back(folder, place, mirror=mirror)
    go_back(folder, place, mirror=mirror)
    with Ledger.open(folder, mirror=mirror) as ledger:
        assert verify(ledger).ok


def test_a_damaged_journal_does_not_hide_what_the_tables_of_the_old_ledger_tell(
    folder: Path, draft: MakeDraft, place: Path
) -> None:
    with Ledger.open(folder) as ledger:
        run(ledger, draft, "r1", Kind.RUN_SUBMITTED)
        back_up(ledger, place, "acme", "root")
    for _ in range(3):
        with Ledger.open(folder) as ledger:
            ledger.append(draft()).wait()
            epoch = ledger.epoch
    (folder / "journal.0").write_bytes(b"\0" * 4096 + b"BWJRNL1\n")
    restored = go_back(folder, place)
    assert restored.epoch > epoch


def test_what_did_not_close_does_not_take_over(folder: Path, draft: MakeDraft, place: Path, monkeypatch) -> None:
    with Ledger.open(folder) as ledger:
        run(ledger, draft, "r1", Kind.RUN_SUBMITTED)
        back_up(ledger, place, "acme", "root")
    before = (folder / "ledger.duckdb").read_bytes()
    monkeypatch.setattr(Journal, "close", lambda *_, **__: None)
    with pytest.raises(SettingsError, match="not all of it is in its file"):
        go_back(folder, place)
    assert (folder / "ledger.duckdb").read_bytes() == before

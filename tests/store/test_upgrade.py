"""Ledgers of earlier formats: what an upgrade makes of them, keeps of them, and leaves of them when it fails."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from store.keys.scope import Scope
from store.keys.site_key import Site
from store.ledger import original, steps, successor, upgrade
from store.ledger.format import FORMAT
from store.ledger.ledger import Ledger
from store.ledger.restore import restore
from store.ledger.upgrade import Upgrade, Upgraded
from store.ledger.verify import Verification, verify
from store.records.errors import IntegrityError, SettingsError, Unreachable
from store.records.kinds import Kind
from tests.store.earlier import format_1, format_2

SAID = "Ophelia Krantz"
CHILD = Path(__file__).with_name("upgrade_child.py")
Make = Callable[[Path], Path]


@pytest.fixture
def earlier(folder: Path) -> Path:
    """A ledger of format 1."""
    return format_1(folder)


@pytest.fixture
def second(folder: Path, draft) -> Path:
    """A ledger of format 2, with content, 300 events, some runs, and nothing signed over the last ones."""
    with Ledger.open(folder) as ledger:
        for number in range(300):
            ledger.append(draft(principal="ada"), {"text": f"{SAID} {number}"} if number % 9 == 0 else None)
        for run in ("r1", "r2"):
            ledger.append(draft(Kind.RUN_SUBMITTED, run=run, workflow="task"))
        ledger.append(draft(Kind.RUN_ENDED, run="r1", decision="completed"))
        ledger.append(draft(Kind.RUN_STARTED, run="r2", workflow="task", workflow_version=1))
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute("DELETE FROM checkpoints")
    return format_2(folder)


def upgraded(folder: Path, backup: str = "kept") -> Upgraded:
    with Upgrade.begin(folder) as found:
        return found.run(Site(folder / "keys"), folder.with_name(backup), "acme", "root")


def texts(ledger: Ledger) -> list[str]:
    return [ledger.payload(event.payload)["text"] for event in ledger.events() if event.kind == Kind.NOTE]


def with_plaintext(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and SAID.encode() in path.read_bytes()]


def names(folder: Path) -> list[str]:
    """What is in a folder, but for the journal's files, which formats 1 and 2 did not have."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("journal."))


def files(folder: Path) -> dict[str, bytes]:
    """What is in the files of a ledger, but for the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "ledger.lock"
    }


@pytest.mark.parametrize("read_only", [True, False])
def test_an_earlier_format_is_neither_read_nor_written_and_that_is_said(earlier: Path, read_only: bool) -> None:
    before = files(earlier)
    with pytest.raises(SettingsError) as refused:
        Ledger.open(earlier, read_only=read_only)
    assert str(refused.value) == (
        f"the ledger has format 1, this version reads {FORMAT} ({earlier}); "
        "`bailiwick upgrade` converts it, and makes a backup first"
    )
    assert files(earlier) == before


@pytest.mark.parametrize("read_only", [True, False])
def test_a_newer_format_is_refused_by_everything(folder: Path, draft, read_only: bool) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft()).wait()
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute(f"UPDATE format SET number = {FORMAT + 1}")
        connection.execute("CREATE TABLE more (a INT)")  # it may have what this version does not know
    newer = f"a newer version wrote the ledger: it has format {FORMAT + 1}.*a ledger does not go down"
    with pytest.raises(SettingsError, match=newer):
        Ledger.open(folder, read_only=read_only)
    with pytest.raises(SettingsError, match=newer), Upgrade.begin(folder):
        pass


@pytest.mark.parametrize(
    "change", ["DELETE FROM format", "INSERT INTO format VALUES (4)", "UPDATE format SET number = 2"]
)
def test_a_ledger_that_does_not_say_its_format_is_refused(folder: Path, draft, change: str) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft()).wait()
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute(change)
    with pytest.raises(IntegrityError, match="does not say its format"):
        Ledger.open(folder)
    with pytest.raises(IntegrityError, match="does not say its format"), Upgrade.begin(folder):
        pass


def test_format_1_is_encrypted_and_every_event_is_the_same(earlier: Path) -> None:
    assert with_plaintext(earlier) == ["ledger.duckdb"]  # zstd keeps short texts as they are
    with duckdb.connect(str(earlier / "ledger.duckdb"), read_only=True) as connection:
        before = connection.execute("SELECT bytes FROM events ORDER BY seq").fetchall()
    done = upgraded(earlier)
    assert (done.before, done.after, done.events, done.event) == (1, FORMAT, 5, 6)
    assert with_plaintext(earlier) == []
    with Ledger.open(earlier, read_only=True) as ledger:
        assert len(texts(ledger)) == 5
        assert verify(ledger) == Verification(True, 6, ())
        *same, said = ledger.events()
        assert [(each.canonical(),) for each in same] == before
        assert (said.kind, said.step, said.principal, said.cause) == ("ledger.upgraded", f"1-{FORMAT}", "root", 5)
        assert ledger.payload(said.payload) == {"from": 1, "to": FORMAT, "backup": str(earlier.with_name("kept"))}
    with Ledger.open(earlier) as ledger:
        assert ledger.epoch == said.epoch + 1


def test_format_2_becomes_todays_with_its_content_and_its_tree(second: Path) -> None:
    with Upgrade.begin(second) as found:
        assert (found.before, len(found.steps)) == (2, FORMAT - 2)
        assert [(each.row.run, each.row.workflow, len(each.events)) for each in found.runs] == [("r2", "task", 2)]
    done = upgraded(second)
    assert (done.before, done.events, done.event) == (2, 304, 305)
    with Ledger.open(second, read_only=True) as ledger:
        assert len(ledger.payload(ledger.events()[0].payload)["text"]) > 0
        assert verify(ledger) == Verification(True, 305, ())
    assert names(second) == ["keys", "ledger.duckdb", "ledger.lock"]


def test_each_payload_is_its_users_and_what_several_said_the_tenants(earlier: Path) -> None:
    upgraded(earlier)
    with Ledger.open(earlier) as ledger:
        owners = {(record.owner.tenant, record.owner.user) for record in ledger.keystore.records.values()}
        assert owners == {("acme", "ada"), ("acme", "bob"), ("acme", ""), ("other", "ada"), ("acme", "root")}
        assert ledger.keeper.shred(Scope("acme", "ada"), "root").payloads == 1
        found = verify(ledger)
        assert (found.ok, found.destroyed) == (True, 1), found.problems


def test_an_upgrade_that_is_killed_anywhere_is_ended_or_done_anew_by_the_next(tmp_path: Path) -> None:
    """Before each system call that changes a name in the file system; see the child."""
    (tmp_path / "original").mkdir()
    (tmp_path / "copies").mkdir()
    first = format_1(tmp_path / "original" / "data")
    command = [sys.executable, str(CHILD), str(first), str(tmp_path / "copies")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1)[1] for line in done.stdout.splitlines()]
    assert set(lines[:-1]) == {"1 backups of 4 texts killed", "2 backups of 4 texts killed"}, done.stdout + done.stderr
    assert lines[-1] == "1 backups of 4 texts ended"
    assert len(lines) > 20


def test_the_backup_of_format_1_is_what_was_there_and_of_no_later_key(earlier: Path) -> None:
    before = files(earlier)
    upgraded(earlier)
    kept = earlier.with_name("kept")
    assert files(kept) == {name: before[name] for name in ("ledger.duckdb", "keys/payload.key")}
    assert {path.stat().st_mode & 0o777 for path in kept.rglob("*") if path.is_file()} == {0o600}
    assert kept.stat().st_mode & 0o777 == (kept / "keys").stat().st_mode & 0o777 == 0o700


def test_the_backup_of_format_2_has_what_was_in_the_write_ahead_log_and_can_be_restored(
    second: Path, tmp_path: Path
) -> None:
    change = "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); " + (
        "c.execute('UPDATE payloads SET tenant = 1').fetchall(); "
        "c.execute(\"UPDATE payloads SET tenant = 'acme'\").fetchall(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", change, str(second / "ledger.duckdb")], check=True)
    assert (second / "ledger.duckdb.wal").exists()
    upgraded(second)
    kept = second.with_name("kept")
    assert sorted(path.name for path in kept.iterdir()) == ["checkpoint", "ledger.duckdb"]
    found = restore(kept, second, Site(second / "keys"), "acme", "root", replace=True)
    assert (found.kept, found.parked) == (304, ("r2",))
    with Ledger.open(second, read_only=True) as ledger:
        assert verify(ledger).ok
        assert [each.kind for each in ledger.events(after=304)] == ["ledger.restored", "run.parked"]


def test_where_there_is_something_no_backup_is_put_and_nothing_is_done(earlier: Path) -> None:
    before = files(earlier)
    earlier.with_name("kept").mkdir()
    with pytest.raises(SettingsError, match="there is something already"):
        upgraded(earlier)
    nowhere = pytest.raises(SettingsError, match="the backup cannot be written: No such file")
    with nowhere, Upgrade.begin(earlier) as found:
        found.run(Site(earlier / "keys"), earlier / "none" / "kept", "acme", "root")
    assert files(earlier) == before


def test_nothing_is_upgraded_twice(earlier: Path) -> None:
    upgraded(earlier)
    with Upgrade.begin(earlier) as found:
        assert (found.before, found.steps, found.runs) == (FORMAT, [], ())
        with pytest.raises(SettingsError, match="nothing to upgrade"):
            found.run(Site(earlier / "keys"), earlier.with_name("again"), "acme", "root")
    with Ledger.open(earlier) as ledger:
        assert len(ledger.events()) == 6


def test_it_needs_the_folder_for_itself(earlier: Path, folder: Path) -> None:
    with Upgrade.begin(earlier), pytest.raises(Unreachable, match="in use by process PID"):
        Ledger.open(folder)
    with Upgrade.begin(earlier), pytest.raises(Unreachable), Upgrade.begin(folder):
        pass
    with pytest.raises(SettingsError, match="no ledger yet"), Upgrade.begin(folder.with_name("none")):
        pass


def test_what_is_written_is_private_and_the_key_that_named_payloads_goes(earlier: Path) -> None:
    before = os.umask(0o022)
    try:
        upgraded(earlier)
    finally:
        os.umask(before)
    assert not (earlier / "keys" / "payload.key").exists()
    assert {path.stat().st_mode & 0o777 for path in earlier.rglob("*.*")} == {0o600}


def test_without_the_key_that_named_its_payloads_nothing_is_converted(earlier: Path) -> None:
    key = earlier / "keys" / "payload.key"
    away = key.rename(earlier.parent / "away")
    with pytest.raises(IntegrityError, match=r"payload.key is missing"):
        upgraded(earlier)
    away.rename(key)
    upgraded(earlier)
    with Ledger.open(earlier) as ledger:
        assert len(texts(ledger)) == 5


def test_a_ledger_that_signed_nothing_gets_its_tree_and_a_key_that_signs(earlier: Path) -> None:
    with duckdb.connect(str(earlier / "ledger.duckdb")) as connection:
        connection.execute("DROP TABLE tiles; DROP TABLE checkpoints")
    (earlier / "keys" / "checkpoint.key").unlink()
    upgraded(earlier)
    with Ledger.open(earlier, read_only=True) as ledger:
        assert verify(ledger) == Verification(True, 6, ())


def test_a_key_that_signed_is_not_made_anew(second: Path) -> None:
    for name in ("checkpoint.key", "keystore.json"):
        away = (second / "keys" / name).rename(second.parent / "away")
        with pytest.raises(IntegrityError, match="is missing"):
            upgraded(second, f"kept-{name}")
        away.rename(second / "keys" / name)
    upgraded(second)


def test_content_that_was_damaged_stays_so_and_keeps_nothing_from_being_done(earlier: Path) -> None:
    with duckdb.connect(str(earlier / "ledger.duckdb")) as connection:
        connection.execute("UPDATE payloads SET data = (SELECT data FROM payloads LIMIT 1)")
    upgraded(earlier)
    with Ledger.open(earlier) as ledger:
        found = verify(ledger)
        assert len([each for each in found.problems if "is not what was recorded" in each]) == 3, found.problems
        assert len(found.problems) == 3  # of four, one has what it had


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE events SET bytes = 'x'::BLOB WHERE seq = 3", "event 3 was changed"),
        ("DELETE FROM events WHERE seq = 3", "event 3 is missing"),
        ("DELETE FROM events WHERE seq > 3", "the newest checkpoint signed 304 events, and they are not"),
        ("UPDATE checkpoints SET note = replace(note, '304', '303')", "the newest checkpoint does not hold"),
        ("UPDATE events SET decision = 'allow' WHERE seq = 3", "event 3 was changed"),
        ("ALTER TABLE events RENAME TO real; CREATE VIEW events AS FROM real", "is not ours"),
    ],
)
def test_events_that_are_not_what_was_recorded_are_not_upgraded(folder: Path, draft, change: str, says: str) -> None:
    with Ledger.open(folder) as ledger:
        for _ in range(304):
            ledger.append(draft())
    format_2(folder)
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute(change)
        before = connection.execute("SELECT seq, hash, decision FROM events ORDER BY seq").fetchall()
    with pytest.raises(IntegrityError, match=says):
        upgraded(folder)
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        assert connection.execute("SELECT seq, hash, decision FROM events ORDER BY seq").fetchall() == before
    assert not (folder / "upgrading").exists()


@pytest.mark.parametrize(
    ("where", "name"), [(original, "sync_file"), (steps, "connect_two"), (upgrade, "_say"), (successor, "take_over")]
)
@pytest.mark.parametrize("make", ["earlier", "second"])
def test_a_disk_that_is_full_is_one_line_and_nothing_is_lost(
    make: str, where: object, name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder: Path = request.getfixturevalue(make)
    with monkeypatch.context() as later:
        later.setattr(where, name, full)
        with pytest.raises(SettingsError, match=r"No space left on device.*the ledger is as it was") as refused:
            upgraded(folder, "first")
        assert "\n" not in str(refused.value)
    upgraded(folder)
    assert names(folder) == ["keys", "ledger.duckdb", "ledger.lock"]
    with Ledger.open(folder) as ledger:
        assert verify(ledger).ok
        assert [each.kind for each in ledger.events(kinds=["ledger.upgraded"])] == ["ledger.upgraded"]


def test_what_cannot_be_destroyed_is_told_and_destroyed_by_the_next(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as later:
        later.setattr(successor, "sync_folder", full)
        with pytest.raises(SettingsError, match="is upgraded, but what was there before is not destroyed: No space"):
            upgraded(earlier)
    assert (earlier / "ledger.old").exists()
    with Upgrade.begin(earlier) as found:
        assert found.steps == []
        found.finish()
    assert with_plaintext(earlier) == []
    assert not (earlier / "keys" / "payload.key").exists()
    with Ledger.open(earlier) as ledger:
        assert verify(ledger) == Verification(True, 6, ())


def test_a_file_system_that_takes_no_more_leaves_the_ledger_as_it_was(second: Path) -> None:
    full = """
import resource, signal, sys
from pathlib import Path
from store.keys.site_key import Site
from store.ledger.upgrade import Upgrade
from store.records.errors import SettingsError
folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = (folder / "ledger.duckdb").stat().st_size * int(sys.argv[2]) // 4
with Upgrade.begin(folder) as found:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        found.run(Site(folder / "keys"), folder.with_name("kept" + sys.argv[2]), "acme", "root")
    except SettingsError as error:
        print(error)
"""
    for quarters in ("1", "4"):
        command = [sys.executable, "-c", full, str(second), quarters]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert said.stdout.count("\n") == 1, said
        assert "as it was" in said.stdout
    assert upgraded(second).events == 304

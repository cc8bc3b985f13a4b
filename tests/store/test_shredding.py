"""Shredding, holds and the sweep: what must go is gone from every file, what must stay stays, and the log says so."""

import shutil
import subprocess
import sys
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from store.keys.cipher import Unopened, unseal
from store.keys.errors import Shredded
from store.keys.keystore import Keystore
from store.keys.scope import Owner, Scope
from store.keys.site_key import Site
from store.ledger import needs, schema
from store.ledger.ledger import Ledger
from store.ledger.verify import verify
from store.records.errors import BailiwickError, Denied, IntegrityError, SettingsError
from store.records.kinds import Kind
from store.verify import tombstone

SECRET = "the patient in room 12 is called Ophelia Krantz"
CHILD = Path(__file__).with_name("shred_child.py")


def said(ledger: Ledger, draft, user: str, text: str = SECRET, **more):
    """An event of a user with a payload; on disk."""
    return ledger.append(draft(principal=user, **more), {"by": user, "text": text}).wait()


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def test_no_file_ever_holds_what_was_said(folder: Path, draft) -> None:
    long = "incompressible? " + " ".join(str(number**7) for number in range(400))
    with Ledger.open(folder) as ledger:
        for text in (SECRET, long):
            said(ledger, draft, "ada", text)
        assert not files_with(folder, SECRET.encode())  # in DuckDB's log
    for text in (SECRET, long[40:60], "Ophelia"):
        assert not files_with(folder, text.encode())
    assert not files_with(folder, b"\x28\xb5\x2f\xfd")  # as every zstd frame begins


def test_what_is_shredded_is_gone_for_one_user_and_for_nobody_else(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        ada, bob = said(ledger, draft, "ada"), said(ledger, draft, "bob")
        other = said(ledger, draft, "ada", tenant="other", labels=None)
        brief = said(ledger, draft, "ada", retention="brief")
        assert len({ada.payload, bob.payload, other.payload, brief.payload}) == 4
        (record,) = (r for r in ledger.keystore.records.values() if r.owner == Owner("acme", "ada", "standard"))
        gone = ledger.keeper.shred(Scope("acme", "ada", "standard"), "root")
        assert (gone.payloads, gone.keys) == (1, 1)
        with pytest.raises(Shredded, match=f"event {gone.events[0]} says so"):
            ledger.payload(ada.payload)
        for event in (bob, other, brief):
            assert ledger.payload(event.payload)["text"] == SECRET
        (event,) = ledger.events(kinds=(Kind.KEYS_SHREDDED,))
        assert (event.tenant, event.principal, event.step) == ("acme", "root", f"ada/standard/{record.id}")
        again = said(ledger, draft, "ada")
        assert again.payload != ada.payload
        assert ledger.payload(again.payload)["text"] == SECRET
        found = verify(ledger)
        assert (found.ok, found.destroyed) == (True, 1), found.problems
    with Ledger.open(folder) as ledger:
        assert verify(ledger).ok
        with pytest.raises(Shredded):
            ledger.payload(ada.payload)


def test_the_old_site_key_opens_nothing_that_is_left(folder: Path, draft, tmp_path: Path) -> None:
    with Ledger.open(folder) as ledger:
        said(ledger, draft, "ada")
        said(ledger, draft, "bob")
        before = ledger.keystore.secret
        ledger.keeper.shred(Scope("acme", "ada"), "root")
        after = ledger.keystore.secret
    assert files_with(folder, after)
    assert not files_with(folder, before)
    store = Keystore.open(folder / "keys", Site(folder / "keys"))
    for each, record in zip(store.book["keys"], store.records.values(), strict=True):
        wrapped, place = b64decode(each["wrapped"]), record.place(store.header.id)
        assert len(unseal(after, wrapped, place)) == 32
        with pytest.raises(Unopened):
            unseal(before, wrapped, place)


def test_killed_before_any_change_of_a_file_all_is_there_or_the_named_ones_are_gone(
    folder: Path, draft, tmp_path: Path
) -> None:
    with Ledger.open(folder) as ledger:
        for user, retention in (("ada", "standard"), ("bob", "standard"), ("ada", "brief"), ("ada", "brief")):
            said(ledger, draft, user, f"{user} said {ledger.last_seq()}", retention=retention)
    (tmp_path / "copies").mkdir()
    done = subprocess.run([sys.executable, str(CHILD), folder, tmp_path / "copies"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [line.split()[1] for line in done.stdout.splitlines()]
    turn = found.index("shredded")
    assert 5 < turn < len(found) - 5
    assert found == ["there"] * turn + ["shredded"] * (len(found) - turn), done.stdout + done.stderr


def test_what_is_held_is_not_shredded_and_the_hold_is_named(ledger, draft) -> None:
    event = said(ledger, draft, "ada")
    held = ledger.keeper.hold(Scope("acme", "ada"), "counsel", "case 17")
    assert ledger.payload(held.payload) == {"reason": "case 17"}
    assert b"case 17" not in held.canonical()
    for scope in (Scope("acme"), Scope("acme", "ada"), Scope("acme", None, "standard")):
        with pytest.raises(Denied, match=f"event {held.seq} .* by counsel"):
            ledger.keeper.shred(scope, "root")
    with pytest.raises(SettingsError, match="held already"):
        ledger.keeper.hold(Scope("acme", "ada"), "counsel", "again")
    with pytest.raises(SettingsError, match="no such hold"):
        ledger.keeper.release(Scope("acme"), "counsel")
    ledger.keeper.release(Scope("acme", "ada"), "counsel")
    assert ledger.keeper.shred(Scope("acme", "ada"), "root").payloads == 1
    with pytest.raises(Shredded):
        ledger.payload(event.payload)


def test_a_scope_without_content_and_names_that_are_none_are_refused(ledger, draft) -> None:
    said(ledger, draft, "ada")
    for scope in (Scope("acme", "eve"), Scope("nobody"), Scope(""), Scope("acme", "a\nb"), Scope("acme", "x" * 600)):
        with pytest.raises(SettingsError):
            ledger.keeper.shred(scope, "root")
    with pytest.raises(SettingsError, match="reason"):
        ledger.keeper.hold(Scope("acme"), "counsel", " ")


@pytest.mark.parametrize("user", ["Ж" * 90, "%/*" * 100, "u" * 512])
def test_no_name_that_content_can_have_keeps_it_from_being_held_or_shredded(folder: Path, draft, user: str) -> None:
    with Ledger.open(folder) as ledger:
        said(ledger, draft, user)
        if len(Scope("acme", user).path) > 512:
            with pytest.raises(SettingsError, match="so long a name"):
                ledger.keeper.hold(Scope("acme", user), "counsel", "case 17")
        else:
            ledger.keeper.hold(Scope("acme", user), "counsel", "case 17")
            assert [hold.scope for hold in ledger.keeper.holds()] == [Scope("acme", user)]
            ledger.keeper.release(Scope("acme", user), "counsel")
        with pytest.raises(BailiwickError, match="'principal'"):
            ledger.keeper.shred(Scope("acme", user), "two\nlines")
        assert len(ledger.keystore.records) >= 1  # refused before anything was destroyed
        gone = ledger.keeper.shred(Scope("acme", user), "root")
        (event,) = ledger.events(kinds=(Kind.KEYS_SHREDDED,))
        assert ledger.payload(event.payload) == {"payloads": 1, "memories": 0, "user": user, "class": "standard"}
        assert gone.events == (event.seq,)
    with Ledger.open(folder) as ledger:
        assert verify(ledger).ok


def test_a_start_can_say_what_was_destroyed_whatever_it_is_called(folder: Path, draft, aged) -> None:
    with Ledger.open(folder) as ledger:
        said(ledger, draft, "Ж" * 512)
        ledger.keystore.shred(Scope("acme"), "root")  # and no more: the process ends here
    with Ledger.open(folder) as ledger:
        assert len(ledger.events(kinds=(Kind.KEYS_SHREDDED,))) == 1
        assert verify(ledger).destroyed == 1


def test_the_sweep_takes_what_is_old_of_its_class_and_nothing_that_is_needed(ledger, draft, aged) -> None:
    old = said(ledger, draft, "ada", retention="brief")
    lasting = said(ledger, draft, "ada")
    held = said(ledger, draft, "bob", retention="brief")
    needed = said(ledger, draft, "cem", retention="brief", kind=Kind.RUN_SUBMITTED, run="r1")
    ledger.keeper.hold(Scope("acme", "bob"), "counsel", "case 17")
    days = {"brief": 30, "standard": 0}
    assert ledger.keeper.sweep(days, "root") == []
    aged(31)
    (would,) = ledger.keeper.sweep(days, "root", dry_run=True)
    assert (would.payloads, would.scope, would.events) == (1, Scope("acme", None, "brief"), ())
    assert ledger.payload(old.payload)
    (gone,) = ledger.keeper.sweep(days, "root")
    assert gone.payloads == 1
    with pytest.raises(Shredded, match=f"event {gone.events[0]} says so"):
        ledger.payload(old.payload)
    for event in (lasting, held, needed):
        assert ledger.payload(event.payload)["text"] == SECRET
    owners = {record.owner.user for record in ledger.keystore.records.values() if record.owner.retention == "brief"}
    assert owners == {"bob", "cem"}  # under ada's key there was nothing any more
    found = verify(ledger)
    assert (found.ok, found.destroyed) == (True, 1), found.problems


def submitted(ledger: Ledger, draft, run: str, user: str = "ada", source: str = ""):
    return said(ledger, draft, user, kind=Kind.RUN_SUBMITTED, run=run, fingerprint=source)


def ended(ledger: Ledger, draft, run: str, user: str = "ada"):
    return said(ledger, draft, user, f"the outcome of {run}", kind=Kind.RUN_ENDED, run=run, decision="completed")


def test_the_sweep_leaves_what_open_runs_read_of_others_and_why_something_is_held(ledger, draft, aged) -> None:
    for run, source in (("a1", ""), ("b2", "a1"), ("c3", "b2-1"), ("lone", ""), ("p4", "")):
        submitted(ledger, draft, run, source=source)
        if run == "b2":
            submitted(ledger, draft, "b2-1")
    submitted(ledger, draft, "p4-2")
    outcomes = {run: ended(ledger, draft, run) for run in ("a1", "b2", "b2-1", "lone", "p4-2")}  # open: c3, p4
    hold = ledger.keeper.hold(Scope("acme", "eve"), "ada", "case 17")
    aged(31)
    (gone,) = ledger.keeper.sweep({"standard": 30}, "root")
    assert gone.payloads == 1
    with pytest.raises(Shredded):
        ledger.payload(outcomes.pop("lone").payload)
    for event in outcomes.values():
        assert "the outcome of" in ledger.payload(event.payload)["text"]
    assert ledger.payload(hold.payload) == {"reason": "case 17"}
    ended(ledger, draft, "c3")
    aged(62)
    assert ledger.keeper.sweep({"standard": 30}, "root")
    with pytest.raises(Shredded):
        ledger.payload(outcomes["a1"].payload)
    assert ledger.payload(outcomes["p4-2"].payload)


def test_what_an_open_run_needs_is_not_shredded_and_the_run_is_named(ledger, draft) -> None:
    submitted(ledger, draft, "a1")
    ended(ledger, draft, "a1")
    submitted(ledger, draft, "b2", "bob", source="a1")
    said(ledger, draft, "cem", run="b2")
    for user, run in (("ada", "a1"), ("bob", "b2"), ("cem", "b2")):
        with pytest.raises(Denied, match=f"an open run needs it: tenant acme, user {user} .run {run}"):
            ledger.keeper.shred(Scope("acme", user), "root")
    ended(ledger, draft, "b2", "bob")
    assert ledger.keeper.shred(Scope("acme", "ada"), "root").keys == 1
    assert ledger.keeper.shred(Scope("acme"), "root").keys == 3  # and root's, whose order that was
    assert verify(ledger).ok


def test_a_run_that_begins_while_it_is_looked_for_open_ones_is_not_shredded(ledger, draft, monkeypatch) -> None:
    said(ledger, draft, "ada")
    look = needs.owners

    def slowly(*arguments):
        found = look(*arguments)
        submitted(ledger, draft, "a1")
        return found

    with monkeypatch.context() as slow:
        slow.setattr(needs, "owners", slowly)
        with pytest.raises(Denied, match=r"an open run needs it: .*run a1"):
            ledger.keeper.shred(Scope("acme", "ada"), "root")
    ended(ledger, draft, "a1")
    assert ledger.keeper.shred(Scope("acme", "ada"), "root").keys == 1


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM events WHERE seq = 2",
        "UPDATE events SET kind = 'note' WHERE kind = 'keys.held'",
        "UPDATE events SET time = TIMESTAMP '2001-01-01'",
        "UPDATE events SET run = '', kind = 'run.ended' WHERE kind = 'run.submitted'",
        "UPDATE events SET hash = repeat('0', 64)",
        f"UPDATE events SET decision = 'x' WHERE seq = 2; UPDATE events SET hash = sha256({schema.BYTES})",
        f"UPDATE events SET kind = 'note' WHERE seq = 3; UPDATE events SET hash = sha256({schema.BYTES})",
    ],
)
def test_events_that_are_not_what_was_recorded_destroy_nothing(folder: Path, draft, change: str) -> None:
    with Ledger.open(folder) as ledger:
        said(ledger, draft, "ada")
        submitted(ledger, draft, "a1", "bob")
        ledger.keeper.hold(Scope("acme", "ada"), "counsel", "case 17")
        assert ledger.events()[-1].kind == Kind.KEYS_HELD
        connection = ledger._connection.cursor()
        connection.execute(change)
        for order in (
            lambda: ledger.keeper.shred(Scope("acme", "ada"), "root"),
            lambda: ledger.keeper.sweep({"standard": 30}, "root"),
        ):
            with pytest.raises(IntegrityError, match="not what was recorded"):
                order()


def test_who_writes_the_database_does_not_have_another_shredded_by_a_key(folder: Path, draft, aged) -> None:
    with Ledger.open(folder) as ledger:
        ada = said(ledger, draft, "ada")
        said(ledger, draft, "bob")
        ledger.keeper.hold(Scope("acme", "ada"), "counsel", "case 17")
        keys = {record.owner.user: id for id, record in ledger.keystore.records.items()}
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute("UPDATE payloads SET key = ? WHERE id = ?", [keys["bob"], ada.payload])
    aged(31)
    with Ledger.open(folder) as ledger:
        for order in (
            lambda: ledger.keeper.shred(Scope("acme", "bob"), "root"),
            lambda: ledger.keeper.sweep({"standard": 30}, "root"),
        ):
            with pytest.raises(
                IntegrityError, match="content of tenant acme, user ada, class standard stands under an"
            ):
                order()
        assert keys.items() <= {record.owner.user: id for id, record in ledger.keystore.records.items()}.items()
        assert ledger.reader.rows("SELECT count(*) FROM payloads WHERE id = ?", ada.payload) == [(1,)]


def test_what_is_said_again_after_a_sweep_is_kept_anew(ledger, draft, aged) -> None:
    old = said(ledger, draft, "ada", retention="brief")
    aged(31)
    ledger.keeper.sweep({"brief": 30}, "root")
    again = said(ledger, draft, "ada", retention="brief")
    assert again.payload != old.payload
    assert ledger.payload(again.payload)["text"] == SECRET
    assert verify(ledger).ok


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("DELETE FROM payloads", "is missing"),
        ("DELETE FROM tombstones", "another list"),
        ("INSERT INTO tombstones SELECT id, 3 FROM payloads", "another list"),
        ("INSERT INTO tombstones SELECT id, 2 FROM payloads", "another list"),
        ("UPDATE events SET fingerprint = '' WHERE kind = 'keys.shredded'", "another list"),
    ],
)
def test_what_is_missing_without_a_tombstone_is_an_error(folder: Path, draft, change: str, says: str) -> None:
    with Ledger.open(folder) as ledger:
        said(ledger, draft, "ada")
        said(ledger, draft, "bob")
        ledger.keeper.shred(Scope("acme", "ada"), "root")
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute(change)
    with Ledger.open(folder, read_only=True) as ledger:
        found = verify(ledger)
    assert any(says in problem for problem in found.problems), found.problems


def add_sweep(folder: Path, **more: object) -> None:
    """What somebody without keys can write: an event that follows the last, and says that the first payload is gone."""
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        first = schema.event(connection.execute("FROM events ORDER BY seq LIMIT 1").fetchall()[0])
        newest = connection.execute("FROM events ORDER BY seq DESC LIMIT 1").fetchall()[0]
        id, last, time = first.payload, schema.event(newest).seq, schema.event(newest).time
        body = {"seq": last + 1, "kind": "payloads.swept", "actor": "keeper", "step": "*/standard", "payload": ""}
        body["time"] = time
        body |= {"prev": "0" * 64, "fingerprint": tombstone([id]), "mono_ns": 2**50} | more
        forged = replace(first, **body)
        row = [cell[:-1] if cell == forged.time else cell for cell in schema.row(forged, forged.hash)]
        connection.execute(f"INSERT INTO events VALUES ({', '.join('?' * len(row))})", row)
        connection.execute("DELETE FROM payloads WHERE id = ?", [id])
        connection.execute("INSERT INTO tombstones VALUES (?, ?)", [id, last + 1])


def test_a_tombstone_that_somebody_without_keys_wrote_is_noticed_and_never_signed(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        said(ledger, draft, "ada")
        said(ledger, draft, "bob")
    add_sweep(folder)
    with Ledger.open(folder, read_only=True) as ledger:
        (problem,) = [each for each in verify(ledger).problems if "event 3" in each]
        assert "was not written by who has the keys" in problem
    for _ in range(2):
        with pytest.raises(IntegrityError, match="event 3 says that content was destroyed, and was not written by"):
            Ledger.open(folder)


def test_a_key_is_not_destroyed_because_a_column_or_an_event_without_a_mark_says_so(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        event = said(ledger, draft, "ada")
        said(ledger, draft, "bob")
        (key, _) = ledger.keystore.records
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute("UPDATE events SET kind = 'keys.shredded', step = 'x/' || ? WHERE seq = 2", [key])
    with pytest.raises(IntegrityError, match="event 2 is not what was recorded"):
        Ledger.open(folder)
    with Ledger.open(folder, read_only=True) as ledger:
        assert ledger.payload(event.payload)["text"] == SECRET


def test_a_tombstone_whose_key_is_still_there_is_none(folder: Path, draft, tmp_path: Path) -> None:
    with Ledger.open(folder) as ledger:
        said(ledger, draft, "ada")
        said(ledger, draft, "root")  # whose key is for what the order says, too
    shutil.copytree(folder / "keys", tmp_path / "keys")
    with Ledger.open(folder) as ledger:
        ledger.keeper.shred(Scope("acme", "ada"), "root")
    shutil.rmtree(folder / "keys")
    shutil.copytree(tmp_path / "keys", folder / "keys")
    with Ledger.open(folder, read_only=True) as ledger:
        assert any("a data key was destroyed, and it is in the keystore" in each for each in verify(ledger).problems)
    with Ledger.open(folder) as ledger:
        assert verify(ledger).ok


def test_content_in_flight_is_kept_or_shredded_and_never_lost(ledger, draft) -> None:
    """Writers go on while keys are destroyed under them."""
    from threading import Event, Thread

    enough = Event()

    def write() -> None:
        number = 0
        while not enough.wait(0.0005):
            ledger.append(draft(principal="ada"), {"n": number % 7, "text": SECRET})
            number += 1

    writers = [Thread(target=write) for _ in range(4)]
    for each in writers:
        each.start()
    shredded = turns = 0
    while turns < 5:
        try:
            shredded += ledger.keeper.shred(Scope("acme", "ada"), "root").payloads
            turns += 1
        except SettingsError as error:
            if "there is no content" not in error.what:  # none had been said since the last time
                raise
    enough.set()
    for each in writers:
        each.join()
    ledger.flush()
    found = verify(ledger)
    assert found.ok, found.problems[:3]
    assert shredded > 0


def test_a_copy_of_the_data_folder_made_before_opens_with_its_own_keys_only(
    folder: Path, draft, tmp_path: Path
) -> None:
    with Ledger.open(folder) as ledger:
        event = said(ledger, draft, "ada")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    with Ledger.open(folder) as ledger:
        ledger.keeper.shred(Scope("acme", "ada"), "root")
    for name in [path.name for path in (copy / "keys").iterdir()]:
        (copy / "keys" / name).unlink()
    shutil.copytree(folder / "keys", copy / "keys", dirs_exist_ok=True)
    with (
        Ledger.open(copy, read_only=True) as ledger,
        pytest.raises(IntegrityError, match=r"data key .* is not in the keystore"),
    ):
        ledger.payload(event.payload)


def test_an_older_copy_of_the_keystore_is_taken_only_on_purpose(folder: Path, draft) -> None:
    path = folder / "keys" / "keystore.json"
    with Ledger.open(folder) as ledger:
        ada = said(ledger, draft, "ada")
    older = path.read_bytes()
    with Ledger.open(folder) as ledger:
        bob = said(ledger, draft, "bob")
    path.write_bytes(older)
    with pytest.raises(IntegrityError, match="1 data keys are not in the keystore: it is an older copy"):
        Ledger.open(folder)
    with Ledger.open(folder, lose=True):
        pass
    with Ledger.open(folder) as ledger:
        assert ledger.payload(ada.payload)["by"] == "ada"
        with pytest.raises(IntegrityError, match="not in the keystore"):
            ledger.payload(bob.payload)
        assert not verify(ledger).ok
        said(ledger, draft, "bob")


def test_no_keystore_is_made_where_there_was_content(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        said(ledger, draft, "ada")
    (folder / "keys" / "keystore.json").unlink()
    with pytest.raises(IntegrityError, match="the keystore is missing"):
        Ledger.open(folder)
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute("DELETE FROM payloads")
    with pytest.raises(IntegrityError, match="the keystore is missing"):
        Ledger.open(folder)
    assert not (folder / "keys" / "keystore.json").exists()

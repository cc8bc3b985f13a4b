"""The journal: what was acknowledged is filed after a crash, and what was not written by us is refused."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from store.keys.errors import Shredded
from store.ledger import journal
from store.ledger.archive import Payload
from store.ledger.entry import Entry
from store.ledger.errors import LedgerFailed
from store.ledger.journal import PAGE, SEGMENT, Journal, left, read
from store.ledger.ledger import Ledger
from store.ledger.sealer import Sealer, utc_now
from store.ledger.tables import Tables
from store.ledger.verify import verify
from store.records.errors import IntegrityError, SettingsError, Unreachable
from store.records.event import GENESIS, Event
from store.records.kinds import Kind

DYING = """
import os, signal, sys
from pathlib import Path
from store.ledger import applier
from store.ledger.ledger import Ledger
from store.records.event import Draft
applier.LINGER_S = 1e6
ledger = Ledger.open(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    draft = Draft(kind="note", tenant="acme", actor=f"actor-{number % 3}", actor_version="1")
    ledger.append(draft, {"text": f"{number % 2} said"}).wait()
os.kill(os.getpid(), signal.SIGKILL)
"""


def die(folder: Path, events: int) -> None:
    """Append events, one sync each, file none of them, and be killed."""
    child = subprocess.run([sys.executable, "-c", DYING, str(folder), str(events)], check=False)
    assert child.returncode == -signal.SIGKILL


@pytest.fixture
def entries(draft) -> list[Entry]:
    sealer = Sealer(0, 1, {}, "", utc_now)
    return [Entry(*each, None) for number in range(600) for each in sealer.seal(draft(step=str(number)), "")]


@pytest.fixture
def crashed(folder: Path) -> Path:
    """A ledger with three filed events, and four in its journal."""
    die(folder, 3)
    with Ledger.open(folder) as ledger:
        assert ledger.last_seq() == 3
    die(folder, 4)
    return folder


@pytest.mark.parametrize("read_only", [True, False])
def test_what_a_crash_left_is_filed_at_the_next_opening(crashed: Path, *, read_only: bool) -> None:
    assert left(crashed)
    with Ledger.open(crashed, read_only=read_only) as ledger:
        assert [event.seq for event in ledger.events()] == [*range(1, 8)]
        assert [ledger.payload(event.payload)["text"] for event in ledger.events()[3:]] == ["0 said", "1 said"] * 2
        assert verify(ledger).ok
    assert not left(crashed)


def test_more_events_than_a_tile_has_are_filed_with_their_tiles(folder: Path) -> None:
    die(folder, 600)
    with Ledger.open(folder, read_only=True) as ledger:
        assert verify(ledger).ok
        assert ledger.reader.rows("SELECT count(*) FROM tiles") == [(2,)]


def test_what_was_filed_already_is_not_filed_twice(crashed: Path, tmp_path: Path) -> None:
    copies = {name: (crashed / name).read_bytes() for name in journal.NAMES}
    with Ledger.open(crashed):
        pass
    for name, data in copies.items():
        (crashed / name).write_bytes(data)
    with Ledger.open(crashed) as ledger:
        assert ledger.last_seq() == 7
        assert verify(ledger).ok


def test_a_reader_that_cannot_write_says_what_it_does_not_see(crashed: Path) -> None:
    if os.getuid() == 0:
        (crashed / "ledger.lock").unlink()
        (crashed / "ledger.lock").mkdir()  # root may write everywhere
    else:
        (crashed / "ledger.lock").chmod(0o400)
    with pytest.raises(SettingsError):
        Ledger.open(crashed, read_only=True)


def test_a_writer_at_work_is_named_and_its_journal_left_alone(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft()).wait()
        with pytest.raises(Unreachable, match="in use"):
            Ledger.open(folder, read_only=True)
        ledger.append(draft()).wait()
        assert len(ledger.events()) == 2


def test_a_last_frame_cut_short_was_never_acknowledged(crashed: Path) -> None:
    path = crashed / journal.NAMES[0]
    data = path.read_bytes()
    for keep in (3 * PAGE + 200, 3 * PAGE + 20, 3 * PAGE):
        path.write_bytes(data[:keep])
        assert [entry.event.seq for entry in read(crashed, 3)] == [4, 5, 6]
    with Ledger.open(crashed) as ledger:
        assert ledger.last_seq() == 6
        assert verify(ledger).ok


@pytest.mark.parametrize("place", [0, 5, 9, 20, 40, 70, 300, PAGE + 100])
def test_damage_before_the_last_frame_is_an_error_and_nothing_is_lost_silently(crashed: Path, place: int) -> None:
    path = crashed / journal.NAMES[0]
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    for read_only in (True, False):
        with pytest.raises(IntegrityError, match="the journal is damaged before event"):
            Ledger.open(crashed, read_only=read_only)


def test_a_journal_of_another_history_is_refused(crashed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    die(other, 3)
    with Ledger.open(other):
        pass
    for name in journal.NAMES:
        shutil.copy(crashed / name, other / name)
    with pytest.raises(IntegrityError, match="does not follow what is in the ledger"):
        Ledger.open(other)


def test_a_missing_segment_is_named(folder: Path, entries: list[Entry]) -> None:
    folder.mkdir()
    made = Journal(folder)
    for entry in entries:
        made.append([entry])
    made.close(empty=False)
    assert len(read(folder, 0)) == 600
    (folder / journal.NAMES[0]).unlink()
    with pytest.raises(IntegrityError, match="event 1 is not in the journal, and event 257 is"):
        read(folder, 0)


def test_segments_take_turns_and_only_over_what_is_filed(folder: Path, entries: list[Entry]) -> None:
    folder.mkdir()
    made = Journal(folder)
    sizes = []
    for number, entry in enumerate(entries):
        made.append([entry])
        if number % 50 == 49 and number < 550:
            made.file(entry.event.seq)
        sizes.append(sum((folder / name).stat().st_size for name in journal.NAMES))
    assert sizes[-1] <= 2 * (SEGMENT + 50 * PAGE)
    for filed in (550, 570, 599, 600):
        assert [entry.event.seq for entry in read(folder, filed)] == [*range(filed + 1, 601)]
    assert [entry.data for entry in read(folder, 550)] == [entry.data for entry in entries[550:]]
    made.close(empty=True)
    assert not left(folder)


def put(folder: Path, event: Event, erases: Sequence[str] = (), payload: Payload | None = None) -> None:
    """What anybody can write: a whole frame with this event in it, after the last one."""
    with Ledger.open(folder, read_only=True) as ledger:
        last, heads = ledger.last_seq(), ledger.reader.heads()
    prev = heads.get(event.actor, GENESIS)
    event = replace(event, seq=last + 1, prev=prev, payload=payload.id if payload else "")
    writing = Journal(folder)
    writing.append([Entry(event, event.canonical(), event.hash, payload, erases)])
    writing.close(empty=False)


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"kind": Kind.NOTE.value}, []),  # says nothing of it
        ({"fingerprint": "another"}, []),  # no mark
        ({"step": "*/brief"}, []),  # a mark of something else
        ({}, ["another"]),  # a mark over another list
        ({}, None),  # nothing goes, and it says that something does
    ],
)
@pytest.mark.parametrize("read_only", [True, False])
def test_no_content_goes_because_somebody_wrote_a_journal(
    folder: Path, draft, change: dict[str, str], more: list[str] | None, *, read_only: bool
) -> None:
    with Ledger.open(folder) as ledger:
        event = ledger.append(draft(actor="keeper"), {"text": "said"}).wait()
        print_ = ledger.marks.fingerprint("payloads.swept", "acme", "*/standard", [event.payload])
    told = replace(event, **{"kind": "payloads.swept", "step": "*/standard", "fingerprint": print_} | change)
    put(folder, told, [] if more is None else [event.payload, *more])
    with pytest.raises(IntegrityError, match="event 2 in the journal takes content away, and was not written by"):
        Ledger.open(folder, read_only=read_only)
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        for table, rows in {"payloads": 1, "events": 1, "tombstones": 0}.items():
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchall() == [(rows,)]


@pytest.mark.parametrize("change", [{"key": 7}, {"size": "9"}, {"tenant": None}])
def test_a_journal_whose_payload_is_none_is_refused(folder: Path, draft, change: dict[str, Any]) -> None:
    with Ledger.open(folder) as ledger:
        event = ledger.append(draft()).wait()
    payload = Payload("ab" * 32, "acme", "cd" * 16, 4, b"said")
    put(folder, event, payload=replace(payload, **change))
    with pytest.raises(IntegrityError, match="the journal holds what is no event"):
        Ledger.open(folder)


def test_what_the_keeper_destroyed_is_filed_after_a_crash(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        event = ledger.append(draft(actor="keeper"), {"text": "said"}).wait()
        print_ = ledger.marks.fingerprint("payloads.swept", "acme", "*/standard", [event.payload])
    put(folder, replace(event, kind="payloads.swept", step="*/standard", fingerprint=print_), [event.payload])
    with Ledger.open(folder) as ledger:
        assert verify(ledger).problems == ()
        with pytest.raises(Shredded):
            ledger.payload(event.payload)


def test_the_journal_is_for_this_user_alone(crashed: Path) -> None:
    assert {stat.S_IMODE((crashed / name).stat().st_mode) for name in journal.NAMES} == {0o600}


def test_a_link_in_the_place_of_a_segment_is_not_followed(folder: Path, draft, tmp_path: Path) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft()).wait()
    other = tmp_path / "other"
    other.write_bytes(b"not ours")
    for name in journal.NAMES:
        (folder / name).unlink()
    (folder / journal.NAMES[0]).symlink_to(other)
    with pytest.raises(SettingsError, match="the journal cannot be read"):
        Ledger.open(folder)
    (folder / journal.NAMES[0]).unlink()
    os.link(other, folder / journal.NAMES[1])
    with Ledger.open(folder) as ledger:
        ledger.append(draft()).wait()
    assert other.read_bytes() == b"not ours"


def test_a_journal_without_its_database_is_refused(crashed: Path) -> None:
    (crashed / "ledger.duckdb").unlink()
    (crashed / "ledger.duckdb.wal").unlink(missing_ok=True)
    with pytest.raises(IntegrityError, match="a journal, and no database"):
        Ledger.open(crashed, read_only=True)


def test_what_cannot_be_filed_is_not_read_in_silence_and_is_there_after_the_next_start(
    folder: Path, draft, monkeypatch
) -> None:
    ledger = Ledger.open(folder)
    assert ledger.append(draft()).wait().seq == 1
    assert len(ledger.events()) == 1

    def full(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Tables, "file", full)
        assert ledger.append(draft(), {"n": 2}).wait().seq == 2
        for read in (ledger.events, ledger.runs, ledger.reader.last_seq):
            with pytest.raises(LedgerFailed, match="No space left"):
                read()
        with pytest.raises(LedgerFailed, match="No space left"):
            ledger.close()
    assert left(folder)
    with Ledger.open(folder) as ledger:
        assert [event.seq for event in ledger.events()] == [1, 2]
        assert verify(ledger).ok

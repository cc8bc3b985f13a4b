"""Checkpoints and proofs of a real ledger, checked by the one file that an auditor has."""

import base64
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from store import verify as checker
from store.ledger import notary
from store.ledger.ledger import Ledger
from store.ledger.tree import WIDTH
from store.ledger.verify import verify
from store.records.errors import IntegrityError, SettingsError
from store.verify import Checkpoint, Consistency, Inclusion, Invalid, Key, open_checkpoint, open_note

EVENTS = 2 * WIDTH + 40


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, draft) -> Path:
    """A closed ledger with two full tiles, written in two epochs."""
    folder = tmp_path_factory.mktemp("proofs") / "data"
    for count in (WIDTH + 20, EVENTS - WIDTH - 20):
        with Ledger.open(folder) as ledger:
            for number in range(count):
                ledger.append(draft(step=str(number)))
    return folder


@pytest.fixture
def written(original: Path, folder: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(original, folder))


def tamper(folder: Path, statement: str, *values: object) -> None:
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        connection.execute(statement, values)


def problems(folder: Path) -> str:
    with Ledger.open(folder, read_only=True) as ledger:
        return "\n".join(verify(ledger).problems)


def standalone(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The verifier as an auditor has it: a copy of one file, and no Bailiwick to import."""
    copied = file.with_name("verify.py")
    shutil.copy(checker.__file__, copied)
    command = [sys.executable, "-I", str(copied), str(file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=file.parent)


def test_every_event_is_proved_to_someone_without_bailiwick(written: Path, tmp_path: Path) -> None:
    with Ledger.open(written, read_only=True) as ledger:
        key = ledger.proofs.key
        for seq in (1, WIDTH, WIDTH + 1, EVENTS):
            proof = Inclusion.parse(ledger.proofs.inclusion(seq))
            assert proof.check(key).size == EVENTS
            assert proof.entry == ledger.events(after=seq - 1, limit=1)[0].canonical()
        file = tmp_path / "proof"
        file.write_text(ledger.proofs.inclusion(7))
    done = standalone(file, "--key", str(key))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"ok: event 7 of {EVENTS} is, byte for byte:\n{{")
    file.write_text(file.read_text().replace("index 6", "index 5"))
    done = standalone(file, "--key", str(key))
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr == f"verify: entry 5 is not what the tree of {EVENTS} holds there\n"


def test_growth_is_proved_from_a_checkpoint_that_was_kept(written: Path, tmp_path: Path, draft) -> None:
    with Ledger.open(written) as ledger:
        kept = ledger.proofs.checkpoint()
        for _ in range(WIDTH):
            ledger.append(draft())
        ledger.append(draft()).wait()
        newest = ledger.proofs.checkpoint()
        text, key = ledger.proofs.since(kept), ledger.proofs.key
    before, after = Consistency.parse(text).check(kept, key)
    assert (before.size, after.size) == (EVENTS, EVENTS + WIDTH + 1)
    assert open_checkpoint(newest, key) == after
    for name, content in (("proof", text), ("kept", kept)):
        (tmp_path / name).write_text(content)
    done = standalone(tmp_path / "proof", "--key", str(key), "--since", str(tmp_path / "kept"))
    assert done.stdout == f"ok: the log of {after.size} events continues that of {before.size}\n"


def test_the_command_of_the_verifier_says_what_is_wrong_with_its_input(tmp_path: Path) -> None:
    file = tmp_path / "proof"
    file.write_bytes(b"\xff")
    key = str(Key("a", bytes(32)))
    done = standalone(file, "--key", key)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no text" in done.stderr
    assert done.stderr.count("\n") == 1
    file.write_text("nothing")
    assert "the key is not base64" in standalone(file, "--key", "a+b+!").stderr
    assert standalone(tmp_path / "none", "--key", "x").returncode == 2


def test_the_note_of_the_specification_is_read_and_written() -> None:
    """The example of C2SP's signed-note."""
    key = Key.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    signature = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    note = f"This is an example message.\n\n\u2014 example.com/foo {signature}\n"
    assert open_note(note, key) == "This is an example message.\n"
    assert open_note(note.replace("\n\u2014", "\n\u2014 other AAAAAAAA\n\u2014", 1), key)
    for changed in (note.replace("example m", "other m"), note.replace("Uw2QOkn8", "Uw2QOkn9")):
        with pytest.raises(Invalid, match="changed, or its signature is forged"):
            open_note(changed, key)


def test_a_checkpoint_comes_in_time_on_demand_and_at_the_end(
    folder: Path, draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notary, "INTERVAL_S", 0.05)
    with Ledger.open(folder) as ledger:
        ledger.append(draft()).wait()
        while not (found := ledger.reader.checkpoint()):
            time.sleep(0.01)
        assert found[0] == 1
        monkeypatch.setattr(notary, "INTERVAL_S", 3600.0)
        ledger.append(draft()).wait()
        assert open_checkpoint(ledger.proofs.checkpoint(), ledger.proofs.key).size == 2
        ledger.append(draft())
    with Ledger.open(folder, read_only=True) as ledger:
        assert open_checkpoint(ledger.proofs.checkpoint(), ledger.proofs.key).size == 3


def test_an_idle_ledger_signs_nothing_twice(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft()).wait()
        assert ledger.proofs.checkpoint() == ledger.proofs.checkpoint()
    with Ledger.open(folder):
        pass
    with Ledger.open(folder, read_only=True) as ledger:
        assert ledger.reader.rows("SELECT count(*) FROM checkpoints") == [(1,)]


def test_what_cannot_be_proved_is_one_clear_error(folder: Path, written: Path, draft, tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "empty") as empty:
        with pytest.raises(SettingsError, match="there is no event 1"):
            empty.proofs.inclusion(1)
        with pytest.raises(SettingsError, match="the ledger is empty"):
            empty.proofs.since("anything")
        empty.append(draft()).wait()
        foreign = empty.proofs.checkpoint()
    with Ledger.open(written, read_only=True) as ledger:
        for seq in (0, -1, EVENTS + 1):
            with pytest.raises(SettingsError, match=f"there is no event {seq}"):
                ledger.proofs.inclusion(seq)
        for note in ("", "no note", foreign):
            with pytest.raises(SettingsError, match="no checkpoint of this ledger"):
                ledger.proofs.since(note)


def test_after_a_crash_the_next_start_signs(written: Path, draft) -> None:
    tamper(written, "DELETE FROM checkpoints")  # as if the process had died before it signed
    with Ledger.open(written, read_only=True) as ledger, pytest.raises(SettingsError, match="no checkpoint covers"):
        ledger.proofs.inclusion(EVENTS)
    with Ledger.open(written) as ledger:
        assert Inclusion.parse(ledger.proofs.inclusion(EVENTS)).check(ledger.proofs.key).size == EVENTS


def test_a_lost_key_of_checkpoints_is_noticed_and_never_replaced(written: Path) -> None:
    (written / "keys" / "checkpoint.key").unlink()
    with pytest.raises(IntegrityError, match=r"checkpoint\.key is missing"):
        Ledger.open(written)
    assert not (written / "keys" / "checkpoint.key").exists()


def test_a_tail_cut_off_with_its_checkpoints_is_found_by_one_that_was_kept(written: Path) -> None:
    with Ledger.open(written, read_only=True) as ledger:
        kept = ledger.proofs.checkpoint()
    tamper(written, "DELETE FROM events WHERE seq > 30")
    assert f"a checkpoint signed {EVENTS} events, 30 are there: events were cut off" in problems(written)
    tamper(written, "DELETE FROM checkpoints WHERE size > 30")
    assert "tiles of the tree are over events that are not there" in problems(written)
    tamper(written, "DELETE FROM tiles")
    with (
        Ledger.open(written) as ledger,
        pytest.raises(IntegrityError, match=f"signed {EVENTS} events, and there are 30"),
    ):
        ledger.proofs.since(kept)


def test_a_ledger_that_is_not_what_was_signed_is_not_written_to(written: Path, draft) -> None:
    tamper(written, "DELETE FROM events WHERE seq > ?", EVENTS - 1)
    with pytest.raises(IntegrityError, match="the last checkpoint does not hold"):
        Ledger.open(written)
    tamper(written, "DELETE FROM events WHERE seq = ?", EVENTS - 3)
    with pytest.raises(IntegrityError, match=f"event {EVENTS - 3} is missing"):
        Ledger.open(written)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE checkpoints SET note = replace(note, '\u2014', '-')", "does not hold"),
        ("UPDATE checkpoints SET size = size + 1", "stands as one of"),
        ("UPDATE tiles SET root = data[1:32] WHERE number = 1", "tile 1 of level 0"),
        ("UPDATE tiles SET data = data || root WHERE number = 0", "tile 0 of level 0"),
        ("DELETE FROM tiles WHERE number = 0", "tile 0 of level 0"),
        ("INSERT INTO tiles SELECT level, 9, root, data FROM tiles WHERE number = 0", "1 tiles of the tree"),
    ],
)
def test_each_change_of_what_was_signed_is_found(written: Path, change: str, said: str) -> None:
    assert problems(written) == ""
    tamper(written, change)
    assert said in problems(written)


def test_a_proof_is_checked_before_it_is_given(written: Path) -> None:
    tamper(written, "UPDATE events SET decision = 'x' WHERE seq = 2")
    with Ledger.open(written, read_only=True) as ledger, pytest.raises(IntegrityError, match="event 2 is not what was"):
        ledger.proofs.inclusion(2)
    tamper(written, "UPDATE checkpoints SET size = size + 1000")
    with Ledger.open(written, read_only=True) as ledger, pytest.raises(IntegrityError, match="stands as one of"):
        ledger.proofs.inclusion(3)
    with pytest.raises(IntegrityError, match="stands as one of"):
        Ledger.open(written)


def test_what_is_not_signed_is_counted(written: Path) -> None:
    tamper(written, "DELETE FROM checkpoints WHERE size > ?", EVENTS - 1)
    with Ledger.open(written, read_only=True) as ledger:
        found = verify(ledger)
        assert found.ok
        assert found.unsigned == EVENTS - WIDTH - 20


def test_a_checkpoint_signed_with_another_key_is_found(written: Path) -> None:
    secret = Ed25519PrivateKey.generate()
    with Ledger.open(written, read_only=True) as ledger:
        key = Key(ledger.proofs.key.name, secret.public_key().public_bytes_raw())
        text = open_note(ledger.proofs.checkpoint(), ledger.proofs.key)
    signature = base64.b64encode(key.id + secret.sign(text.encode())).decode()
    tamper(written, "UPDATE checkpoints SET note = ?", f"{text}\n\u2014 {key.name} {signature}\n")
    assert "not signed with this key" in problems(written)
    with pytest.raises(IntegrityError, match="not signed with this key"):
        Ledger.open(written)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        "a\n1\nroot\n",
        "a\n1\nroot\n\n",
        "a\n1\nroot\n\n- a AAAAAAAA\n",
        "a\n1\nroot\n\n\u2014 a AAAAAAAA",
        "a\n1\nroot\n\n\u2014 a !\n",
        "a\n1\nroot\n\n\u2014 a+b AAAAAAAA\n",
        "a\n1\nroot\n\n" + "\u2014 a AAAAAAAA\n" * 101,
        "x" * 2**20 + "\n\n\u2014 a AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_invalid(note: str) -> None:
    with pytest.raises(Invalid):
        open_note(note, Key("a", bytes(32)))


@pytest.mark.parametrize("size", ["", "-1", "01", "1.0", "1" * 30, "\u0661", " 1"])
def test_a_size_is_a_plain_number(size: str) -> None:
    with pytest.raises(Invalid):
        Checkpoint.parse(f"a\n{size}\n{'A' * 43}=\n")


def test_a_key_is_read_as_it_is_written() -> None:
    key = Key("log/1", bytes(range(32)))
    assert Key.parse(str(key)) == key
    for wrong in ("", "a", "a+b", str(key)[:-4], str(key).replace("log", "lag"), "a b+" + str(key)):
        with pytest.raises(Invalid):
            Key.parse(wrong)

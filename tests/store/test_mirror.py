"""The mirror of checkpoints: what it keeps, what it finds out, and what happens when its medium is gone."""

import json
import shutil
import threading
from pathlib import Path
from queue import SimpleQueue

import duckdb
import pytest

from store.ledger.ledger import Ledger
from store.ledger.mirror import Mirror
from store.ledger.verify import verify
from store.records.errors import IntegrityError, SettingsError
from store.verify import open_checkpoint


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def write(folder: Path, mirror: Path | None, draft, count: int = 3) -> None:
    with Ledger.open(folder, mirror=mirror) as ledger:
        for _ in range(count):
            ledger.append(draft())


def lines(mirror: Path) -> list[str]:
    return [line for path in sorted(mirror.iterdir()) for line in path.read_text().splitlines()]


def tamper(folder: Path, *statements: str) -> None:
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        for statement in statements:
            connection.execute(statement)


def problems(folder: Path, mirror: Path) -> str:
    with Ledger.open(folder, read_only=True, mirror=mirror) as ledger:
        return "\n".join(verify(ledger).problems)


def test_every_checkpoint_is_mirrored_as_it_was_signed(folder: Path, mirror: Path, draft) -> None:
    write(folder, mirror, draft)
    write(folder, mirror, draft)
    with Ledger.open(folder, read_only=True) as ledger:
        signed = [row[0] for row in ledger.reader.rows("SELECT note FROM checkpoints ORDER BY size")]
        assert [open_checkpoint(note, ledger.proofs.key).size for note in signed] == [3, 6]
    assert [json.loads(line)["note"] for line in lines(mirror)] == signed
    assert [path.stat().st_mode & 0o777 for path in mirror.iterdir()] == [0o600]
    assert problems(folder, mirror) == ""


def test_what_was_cut_off_with_all_traces_is_found(folder: Path, mirror: Path, draft) -> None:
    write(folder, None, draft)
    before = Path(shutil.copytree(folder, folder.with_name("before")))
    write(folder, mirror, draft)
    shutil.rmtree(folder)
    before.rename(folder)
    assert problems(folder, mirror) == "a mirrored checkpoint signed 6 events, 3 are there: events were cut off"
    with pytest.raises(IntegrityError, match="a mirrored checkpoint signed 6 events, and there are 3"):
        Ledger.open(folder, mirror=mirror)


def test_a_log_written_anew_with_its_own_key_is_found(folder: Path, mirror: Path, draft) -> None:
    write(folder, mirror, draft)
    tamper(folder, *(f"DELETE FROM {table}" for table in ("events", "tiles", "checkpoints")))
    write(folder, None, draft, 5)
    assert "the mirrored checkpoint of 3 events signed other events" in problems(folder, mirror)
    with pytest.raises(IntegrityError, match="names another first event"):
        Ledger.open(folder, mirror=mirror)
    tamper(folder, *(f"DELETE FROM {table}" for table in ("events", "tiles", "checkpoints")))
    with pytest.raises(IntegrityError, match="names another first event"):
        Ledger.open(folder, mirror=mirror)


def test_a_key_that_was_removed_does_not_hide_what_it_signed(folder: Path, mirror: Path, draft) -> None:
    write(folder, mirror, draft)
    write(folder, mirror, draft)
    tamper(folder, "DELETE FROM checkpoints", "DELETE FROM events WHERE seq > 3")
    (folder / "keys" / "checkpoint.key").unlink()
    with pytest.raises(IntegrityError, match=r"checkpoint\.key is missing"):
        Ledger.open(folder, mirror=mirror)
    tamper(folder, "DROP TABLE checkpoints", "DROP TABLE tiles")
    with pytest.raises(IntegrityError, match="not one that this version writes"):
        Ledger.open(folder, mirror=mirror)


def test_an_old_checkpoint_in_a_file_of_a_later_name_hides_nothing(folder: Path, mirror: Path, draft) -> None:
    write(folder, mirror, draft)
    first = lines(mirror)[0]
    write(folder, mirror, draft)
    (mirror / "checkpoints-zzzz.jsonl").write_text(first + "\n")
    tamper(folder, "DELETE FROM checkpoints WHERE size > 3", "DELETE FROM events WHERE seq > 3")
    with pytest.raises(IntegrityError, match="signed 6 events, and there are 3"):
        Ledger.open(folder, mirror=mirror)


def test_a_mirror_is_shared_and_lines_that_are_torn_do_no_harm(
    folder: Path, mirror: Path, draft, tmp_path: Path
) -> None:
    write(folder, mirror, draft)
    write(tmp_path / "other", mirror, draft)
    file = next(mirror.iterdir())
    with file.open("a") as opened:
        opened.write('{"time": "2026-')
    write(folder, mirror, draft)
    assert len(lines(mirror)) == 4
    assert json.loads(lines(mirror)[-1])
    for line in ("null", "[]", '{"note": 1}', "\udcff", "[" * 100_000):
        with file.open("a", errors="surrogateescape") as opened:
            opened.write(line + "\n")
    assert problems(folder, mirror) == problems(tmp_path / "other", mirror) == ""


def test_a_medium_that_is_gone_is_told_once_and_when_it_is_back(folder: Path, mirror: Path, draft) -> None:
    told: SimpleQueue[str] = SimpleQueue()
    with Ledger.open(folder, mirror=mirror) as ledger:
        ledger.watch_mirror(told.put)
        away = mirror.rename(mirror.with_name("away"))
        for _ in range(2):
            ledger.append(draft()).wait()
            ledger.proofs.checkpoint()
        assert told.get(timeout=60) == "No such file or directory"
        away.rename(mirror)
        ledger.append(draft()).wait()
        ledger.proofs.checkpoint()
        assert told.get(timeout=60) == ""
    assert told.empty()
    assert problems(folder, mirror) == ""


def test_a_mirror_that_is_not_there_stops_the_start_and_not_the_reading(folder: Path, mirror: Path, draft) -> None:
    write(folder, mirror, draft)
    shutil.rmtree(mirror)
    with pytest.raises(SettingsError, match="the mirror of checkpoints cannot be written"):
        Ledger.open(folder, mirror=mirror)
    assert problems(folder, mirror).startswith("the mirror of checkpoints cannot be read: No such folder")


def test_a_medium_that_hangs_holds_up_neither_reads_nor_orders_nor_its_own_report(
    folder: Path, mirror: Path, draft, monkeypatch
) -> None:
    hangs, asked, told = threading.Event(), threading.Event(), threading.Event()

    def keep(*_: object) -> None:
        asked.set()
        hangs.wait()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Mirror, "keep", keep)
    with Ledger.open(folder, mirror=mirror) as ledger:

        def tell(_: str) -> None:
            ledger.append(draft())
            told.set()

        ledger.watch_mirror(tell)
        ledger.append(draft()).wait()
        ledger.proofs.checkpoint()
        assert asked.wait(30)
        ledger.append(draft())
        assert len(ledger.events()) == 1 + len(ledger.events(after=1))
        with ledger.still():
            hangs.set()
            assert ledger.reader.last_seq() == ledger.last_seq()
        assert told.wait(30)

"""Opening a ledger: who may, where, what is refused, and what is left as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

from store.ledger.errors import LedgerFailed
from store.ledger.ledger import Ledger
from store.records.errors import IntegrityError, SettingsError, Unreachable

OPEN = "import sys, pathlib; from store.ledger.ledger import Ledger; "


def elsewhere(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in another process, with the folder as its argument."""
    return subprocess.run([sys.executable, "-c", OPEN + code, str(folder)], capture_output=True, text=True, check=False)


def test_files_are_for_the_owner_alone(ledger, folder: Path, draft) -> None:
    ledger.append(draft(), "x").wait()
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*")} | {"": folder.stat().st_mode & 0o777}
    assert modes.pop("") == modes.pop("keys") == 0o700
    assert sum(name.startswith("site-") for name in modes) == 1
    assert {"ledger.duckdb", "ledger.lock", "keystore.json", "checkpoint.key"} < modes.keys()
    assert {mode for name, mode in modes.items() if not name.endswith(".wal")} == {0o600}


def test_a_folder_open_to_others_is_closed_to_them(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    with Ledger.open(folder):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_second_opening_is_refused_with_the_holder_named(ledger, folder: Path) -> None:
    for read_only in (False, True):
        with pytest.raises(Unreachable, match="in use by process PID"):
            Ledger.open(folder, read_only=read_only)
        code = f"Ledger.open(pathlib.Path(sys.argv[1]), read_only={read_only})"
        assert "Unreachable: the data folder is in use by process PID" in elsewhere(code, folder).stderr


def test_several_readers_share_a_ledger_that_nobody_writes(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        event = ledger.append(draft(), "kept").wait()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with Ledger.open(folder, read_only=True) as one, Ledger.open(folder, read_only=True) as two:
        code = "print(len(Ledger.open(pathlib.Path(sys.argv[1]), read_only=True).events()))"
        assert elsewhere(code, folder).stdout.strip() == "1"
        assert one.events() == two.events() == [event]
        assert one.payload(event.payload) == "kept"
        with pytest.raises(LedgerFailed, match="reading only"):
            one.append(draft())
        with pytest.raises(Unreachable, match="being read"):
            Ledger.open(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_reading_where_there_is_no_ledger_makes_none(folder: Path) -> None:
    with pytest.raises(SettingsError, match="no ledger yet"):
        Ledger.open(folder, read_only=True)
    folder.mkdir()
    with pytest.raises(SettingsError, match="no ledger yet"):
        Ledger.open(folder, read_only=True)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("path", ["file/data", "file", "/proc/bailiwick"])
def test_a_folder_that_cannot_be_used_is_a_settings_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SettingsError, match="the data folder cannot be used"):
        Ledger.open(tmp_path / path)


def test_a_file_that_is_no_ledger_is_an_integrity_error(folder: Path) -> None:
    folder.mkdir()
    (folder / "ledger.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(IntegrityError, match="cannot be opened"):
        Ledger.open(folder)
    (folder / "ledger.duckdb").unlink()
    with Ledger.open(folder):
        pass


def test_a_lost_or_open_key_is_noticed_and_never_replaced(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft(), "kept").wait()
    (key,) = folder.glob("keys/site-*.key")
    secret = key.read_bytes()
    key.chmod(0o640)
    with pytest.raises(SettingsError, match="read by others"):
        Ledger.open(folder)
    key.chmod(0o600)
    key.write_bytes(secret[:-1])
    with pytest.raises(IntegrityError, match="damaged"):
        Ledger.open(folder)
    key.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        Ledger.open(folder)
    assert not key.exists()

"""A ledger that version 0.1 wrote, which did not encrypt payloads: `ledger-0.1.tar.zst`, written by that version.

Five events: what ada and bob said in the tenant acme, one thing that both said, and what ada said in another tenant.
"""

import io
import os
import tarfile
from pathlib import Path

import duckdb
import pytest
import zstandard

from store.keys.scope import Scope
from store.ledger import upgrade
from store.ledger.ledger import Ledger
from store.ledger.verify import Verification, verify
from store.records.errors import IntegrityError, SettingsError

EARLIER = Path(__file__).with_name("ledger-0.1.tar.zst")
SAID = "Ophelia Krantz"


@pytest.fixture
def earlier(folder: Path) -> Path:
    packed = zstandard.ZstdDecompressor().decompress(EARLIER.read_bytes(), max_output_size=2**26)
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        files.extractall(folder.parent, filter="data")
    (folder / "ledger.lock").touch()
    return folder


def texts(ledger: Ledger) -> list[str]:
    return [ledger.payload(event.payload)["text"] for event in ledger.events() if event.payload]


def with_plaintext(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and SAID.encode() in path.read_bytes()]


def test_only_a_start_converts_it_and_until_then_that_is_said(earlier: Path) -> None:
    assert with_plaintext(earlier) == ["ledger.duckdb"]  # zstd keeps short texts as they are
    with pytest.raises(IntegrityError, match="an earlier version wrote the ledger"):
        Ledger.open(earlier, read_only=True)
    with Ledger.open(earlier) as ledger:
        assert len(texts(ledger)) == 5
        assert verify(ledger) == Verification(True, 5, ())
    assert with_plaintext(earlier) == []
    with Ledger.open(earlier, read_only=True) as ledger:
        assert len(texts(ledger)) == 5
        assert verify(ledger).ok


def test_each_payload_is_its_users_and_what_several_said_the_tenants(earlier: Path) -> None:
    with Ledger.open(earlier) as ledger:
        owners = {(record.owner.tenant, record.owner.user) for record in ledger.keystore.records.values()}
        assert owners == {("acme", "ada"), ("acme", "bob"), ("acme", ""), ("other", "ada")}
        assert ledger.keeper.shred(Scope("acme", "ada"), "root").payloads == 1
        found = verify(ledger)
        assert (found.ok, found.destroyed) == (True, 1), found.problems


@pytest.mark.parametrize("step", ["_encrypted", "_take_over", "sync_folder", "finish"])
def test_an_upgrade_that_was_interrupted_is_done_again_or_finished(
    earlier: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        if step == "finish":  # called at each start, before anything is converted
            interrupted.setattr(upgrade, "destroy", lambda path, keep: path.exists() and stopped())
        else:
            interrupted.setattr(upgrade, step, stopped)
        with pytest.raises(KeyboardInterrupt):
            Ledger.open(earlier)
    with Ledger.open(earlier) as ledger:
        assert len(texts(ledger)) == 5
        assert verify(ledger).ok
    assert with_plaintext(earlier) == []
    assert not list(earlier.glob("*.old")) + list(earlier.glob("*.new*"))


def test_what_is_written_is_private_and_the_key_that_named_payloads_goes(earlier: Path) -> None:
    before = os.umask(0o022)
    try:
        with Ledger.open(earlier) as ledger:
            assert len(texts(ledger)) == 5
    finally:
        os.umask(before)
    assert not (earlier / "keys" / "payload.key").exists()
    assert {path.stat().st_mode & 0o777 for path in earlier.rglob("*.*") if path.suffix != ".lock"} == {0o600}


def test_without_the_key_that_named_its_payloads_nothing_is_converted(earlier: Path) -> None:
    key = earlier / "keys" / "payload.key"
    away = key.rename(earlier.parent / "away")
    with pytest.raises(IntegrityError, match=r"payload.key is missing"):
        Ledger.open(earlier)
    away.rename(key)
    with Ledger.open(earlier) as ledger:
        assert len(texts(ledger)) == 5


def test_damage_that_was_there_is_there_afterwards(earlier: Path) -> None:
    with duckdb.connect(str(earlier / "ledger.duckdb")) as connection:
        connection.execute("UPDATE payloads SET data = (SELECT data FROM payloads LIMIT 1)")
    with Ledger.open(earlier) as ledger:
        found = verify(ledger)
        assert len([each for each in found.problems if "is not what was recorded" in each]) == 3, found.problems
        assert len(found.problems) == 3  # of four, one has what it had


def test_a_disk_that_is_full_is_one_line_and_nothing_is_lost(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as later:
        later.setattr(upgrade, "_take_over", full)
        with pytest.raises(SettingsError, match=r"cannot be converted: .*No space left"):
            Ledger.open(earlier)
    with Ledger.open(earlier) as ledger:
        assert len(texts(ledger)) == 5

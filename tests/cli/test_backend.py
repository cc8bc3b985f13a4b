"""Read-only verbs ask the runtime that holds the ledger, and the ledger itself when there is none."""

from pathlib import Path
from typing import Any

import pytest

READS = [
    ("runs", "list", "--json"),
    ("runs", "show", "r1", "--payloads", "--json"),
    ("audit", "tail", "--run", "r1", "--json"),
    ("audit", "sql", "SELECT seq, kind FROM events WHERE seq <= 6 ORDER BY seq", "--json"),
]
"""What they show does not change with the events that say that they were read."""


@pytest.fixture
def alone(command: Any, ledger: Path) -> list[str]:
    """What the verbs say of the ledger while nobody holds it."""
    return [command(*arguments).out for arguments in READS]


def test_both_ways_say_the_same(command: Any, alone: list[str], runtime: None) -> None:
    assert all(alone)
    assert [command(*arguments).out for arguments in READS] == alone


def test_a_runtime_of_another_data_folder_is_not_asked(
    command: Any, ledger: Path, runtime: None, tmp_path: Path
) -> None:
    done = command("runs", "list", "--data-dir", str(tmp_path / "other"))
    assert done.code == 2
    assert "there is no ledger yet" in done.err


def test_a_socket_that_nobody_listens_on_is_as_none(command: Any, alone: list[str], tmp_path: Path) -> None:
    import socket

    from runtime.settings import Settings

    settings = Settings.load(data_dir=tmp_path / "data", runtime_dir=tmp_path / "run" / "bailiwick")
    settings.runtime_dir.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(settings.socket))
    assert [command(*arguments).out for arguments in READS] == alone


def test_a_ledger_that_others_could_have_put_there_is_not_read(command: Any, ledger: Path) -> None:
    ledger.chmod(0o770)
    for arguments in READS:
        done = command(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "others can write it" in done.err

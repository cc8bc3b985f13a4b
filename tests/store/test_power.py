"""What is acknowledged survives a power cut at whichever sync it comes, and what is left is whole.

The cut is simulated below the files (benchmarks/chaos/power.py): what was not synced is dropped, all of it or a part.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chaos.power import Disk, read
from store.ledger.ledger import Ledger
from store.ledger.verify import verify
from store.records.event import Draft

LIVES = """
import sys
from pathlib import Path
from store.ledger.ledger import Ledger
from store.records.event import Draft
for life in range(2):
    with Ledger.open(Path(sys.argv[1])) as ledger:
        for number in range(5):
            draft = Draft(kind="note", tenant="acme", actor="core", actor_version="1")
            payload = {"life": life, "text": "x" * (3000 * number)}
            print(ledger.append(draft, payload).wait().seq, flush=True)
"""
SHARES = [number / 10 for number in range(11)]


def lives(folder: Path, disk: Disk) -> subprocess.CompletedProcess[str]:
    """Two lives of a ledger over a disk."""
    folder.mkdir(mode=0o700)
    environ = os.environ | disk.environment()
    command = [sys.executable, "-c", LIVES, str(folder)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def syncs(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How often two lives sync: keys, names, commits, checkpoints, and the database put in order at their end."""
    folder = tmp_path_factory.mktemp("counted")
    disk = Disk(folder / "data", folder)
    assert lives(folder / "data", disk).returncode == 0
    return sum(record.what == "S" for record in read(disk.journal))


@pytest.mark.parametrize("share", SHARES)
def test_a_power_cut_in_place_of_a_sync(tmp_path: Path, syncs: int, share: float) -> None:
    folder, disk = tmp_path / "data", Disk(tmp_path / "data", tmp_path)
    sync = 1 + round(share * (syncs - 1))
    disk.die_at_sync(sync)
    child = lives(folder, disk)
    assert child.returncode == -signal.SIGKILL, child.stderr
    acknowledged = max(map(int, child.stdout.split()), default=0)
    disk.settle()
    disk.cut(random.Random(sync), all_lost=sync % 2 == 0)
    with Ledger.open(folder) as ledger:
        assert ledger.last_seq() >= acknowledged
        found = verify(ledger)
        assert found.ok, found.problems
        draft = Draft(kind="note", tenant="acme", actor="core", actor_version="1")
        assert ledger.append(draft).wait(30).seq == ledger.last_seq() > acknowledged

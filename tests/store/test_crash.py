"""What is acknowledged survives: kill -9 at any moment, a disk that takes no more."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store.ledger.ledger import Ledger
from store.ledger.verify import verify

APPENDING = """
import sys
from pathlib import Path
from store.ledger.ledger import Ledger
from store.records.event import Draft
ledger = Ledger.open(Path(sys.argv[1]))
print("epoch", ledger.epoch, flush=True)
for number in range(10**9):
    draft = Draft(kind="note", tenant="acme", actor=f"actor-{number % 3}", actor_version="1")
    pending = [ledger.append(draft, {"n": number, "part": part}) for part in range(number % 4 + 1)]
    print(pending[-1].wait().seq, flush=True)
"""

FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
from store.ledger.errors import LedgerFailed
from store.ledger.ledger import Ledger
from store.records.event import Draft
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = Ledger.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
draft = Draft(kind="note", tenant="acme", actor="core", actor_version="1")
acknowledged = 0
try:
    for number in range(20_000):
        acknowledged = ledger.append(draft, {"n": number, "text": str(number) * 200}).wait().seq
except LedgerFailed as error:
    print(acknowledged, flush=True)
    print(error)
else:
    sys.exit("the file grew without end")
async def later():
    await ledger.beyond(acknowledged + 1)
for attempt in (lambda: ledger.append(draft), lambda: asyncio.run(later()), lambda: ledger.wait(acknowledged, 30)):
    try:
        attempt()
    except LedgerFailed:
        continue
    sys.exit("a failed ledger took an event, or let someone wait for it")
try:
    ledger.close()
except LedgerFailed:
    pass
print("closed")
"""


def test_kill_nine_loses_nothing_that_was_acknowledged(folder: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    acknowledged = 0
    for epoch in range(1, 7):
        with subprocess.Popen(
            [sys.executable, "-c", APPENDING, str(folder)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == f"epoch {epoch}\n"
            first = int(child.stdout.readline())
            time.sleep(chance.uniform(0, 0.15))
            child.kill()
            # What had been written to the pipe when it died was acknowledged; a line cut short was not.
            lines = [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        acknowledged = int(lines[-1]) if lines else first
        with Ledger.open(folder, read_only=True) as ledger:
            assert ledger.last_seq() >= acknowledged, seed
            assert verify(ledger).ok, seed
    with Ledger.open(folder) as ledger:
        assert ledger.epoch == 7
        assert verify(ledger).ok


@pytest.fixture
def full(folder: Path) -> tuple[Path, list[str]]:
    """A ledger whose disk took no more, and what its process said."""
    child = subprocess.run([sys.executable, "-c", FULL, str(folder)], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    return folder, child.stdout.splitlines()


def test_a_full_disk_is_a_clear_error_and_loses_nothing(full: tuple[Path, list[str]], draft) -> None:
    folder, (acknowledged, error, closed) = full
    assert error.startswith("the ledger cannot be written: ")
    assert error.endswith("everything acknowledged is kept")
    assert closed == "closed"
    with Ledger.open(folder) as ledger:
        assert ledger.last_seq() >= int(acknowledged) > 0
        assert verify(ledger).ok
        assert ledger.append(draft()).wait(30).epoch == 2

"""Shreds ada's content in copies of a data folder, killed before the first system call that changes a file, before the
second, and so on; after each, another process looks at what is left.

    shred_child.py ORIGINAL COPIES

Prints a line for each kill: what became of ada's content, and whether all else is as it must be. Each attempt is a fork
of this process, which has opened nothing.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from store.keys.errors import Shredded
from store.keys.scope import Scope
from store.ledger.ledger import Ledger
from store.ledger.verify import verify

CHANGING = ("link", "replace", "unlink", "fsync")


def in_a_fork(work: Callable[[], str]) -> str:
    """What it returns; empty if it was killed."""
    read, write = os.pipe()
    if not (child := os.fork()):
        os.write(write, work().encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        found = answer.read()
    os.waitpid(child, 0)
    return found


def shred(folder: Path, kill_at: int) -> str:
    """Shred, and be killed before the call of this number."""
    calls = count(1)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **more: Any) -> Any:
            if next(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return made

    with Ledger.open(folder) as ledger:
        for name in CHANGING:
            setattr(os, name, counted(getattr(os, name)))
        ledger.keeper.shred(Scope("acme", "ada"), "root")
    return "ended"


def look(folder: Path) -> str:
    """What is there after the next start."""
    with Ledger.open(folder) as ledger:
        state = set()
        for event in ledger.events(kinds=("note",)):
            try:
                value = ledger.payload(event.payload)
                assert value["by"] == event.principal
                found = "there"
            except Shredded:
                found = "shredded"
            if event.principal == "ada":
                state.add(found)
            else:
                assert found == "there", event
        checked = verify(ledger)
        assert checked.ok, checked.problems
        said = len(ledger.events(kinds=("keys.shredded",)))
        assert (said, checked.destroyed) == ((2, 3) if state == {"shredded"} else (0, 0))
    left = sorted(path.name for path in (folder / "keys").iterdir())
    assert left[:2] == ["checkpoint.key", "keystore.json"], left
    assert [name[:5] for name in left[2:]] == ["site-"], left
    assert len(state) == 1, state
    return state.pop()


def main() -> None:
    original, copies = map(Path, sys.argv[1:])
    for number in count(1):
        folder = Path(shutil.copytree(original, copies / str(number)))
        ended = in_a_fork(lambda folder=folder, number=number: shred(folder, number))
        print(number, in_a_fork(lambda folder=folder: look(folder)) or "failed", ended or "killed", flush=True)
        shutil.rmtree(folder)
        if ended:
            return


main()

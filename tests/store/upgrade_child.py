"""Upgrades copies of a ledger that an earlier version wrote, killed before the first system call that changes a name,
before the second, and so on; after each, another process upgrades what is left.

    upgrade_child.py ORIGINAL COPIES

Prints a line for each kill: how many backups there are in the end, and what was said. Each attempt is a fork of this
process, which has opened nothing.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from store.keys.site_key import Site
from store.ledger.ledger import Ledger
from store.ledger.upgrade import Upgrade
from store.ledger.verify import verify

CHANGING = ("link", "rename", "replace", "unlink", "symlink", "mkdir")


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


def upgrade(folder: Path, backup: str) -> None:
    """As the verb."""
    with Upgrade.begin(folder) as found:
        if found.steps:
            found.run(Site(folder / "keys"), folder.with_name(backup), "acme", "root")
        else:
            found.finish()


def killed(folder: Path, kill_at: int) -> str:
    """Upgrade, and be killed before the call of this number."""
    calls = count(1)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **more: Any) -> Any:
            if next(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return made

    for name in CHANGING:
        setattr(os, name, counted(getattr(os, name)))
    upgrade(folder, "first")
    return "ended"


def look(folder: Path) -> str:
    """Upgrade what is there, and say what there is then."""
    upgrade(folder, "second")
    with Ledger.open(folder) as ledger:
        checked = verify(ledger)
        assert checked.ok, checked.problems
        events = ledger.events()
        said = [ledger.payload(event.payload)["text"] for event in events if event.kind == "note"]
        kinds = [event.kind for event in events]
    assert kinds == ["note"] * 5 + ["ledger.upgraded"], kinds
    left = {path.name for path in folder.iterdir()} | {path.name for path in (folder / "keys").iterdir()}
    site = {name for name in left if name.startswith("site-")}
    expected = {"ledger.duckdb", "ledger.lock", "keys", "checkpoint.key", "keystore.json"}
    assert left - site - {"journal.0", "journal.1"} == expected, left
    assert site  # one more, and it is the key of nothing: the keystore was being made
    backups = sorted(path.name for path in folder.parent.iterdir() if path != folder)
    assert backups in (["first"], ["second"], ["first", "second"]), backups
    return f"{len(backups)} backups of {len(set(said))} texts"


def main() -> None:
    original, copies = map(Path, sys.argv[1:])
    for number in count(1):
        folder = Path(shutil.copytree(original, copies / str(number) / "data"))
        ended = in_a_fork(lambda folder=folder, number=number: killed(folder, number))
        print(number, in_a_fork(lambda folder=folder: look(folder)) or "failed", ended or "killed", flush=True)
        shutil.rmtree(copies / str(number))
        if ended:
            return


main()

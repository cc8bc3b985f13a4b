"""The real command in a process of its own, and a real ledger for it to read."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from store.ledger.ledger import Ledger
from store.records.event import Draft
from store.records.identity import User
from store.records.kinds import Kind

HOLDER = Path(__file__).with_name("holder.py")
COMMAND = str(Path(sys.executable).parent / "bailiwick")


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of stdout as JSON."""
        return json.loads(self.out.splitlines()[-1])


Command = Callable[..., Done]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs `bailiwick`, in an empty home, on an empty data folder, in the folder `typed-in`."""
    for name in ("home", "run", "typed-in"):
        (tmp_path / name).mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BAILIWICK_", "XDG_"))}
    environ = {**kept, "HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}

    def run(*arguments: str, **more: str) -> Done:
        done = subprocess.run(
            [COMMAND, *arguments],
            env=environ | {"BAILIWICK_DATA_DIR": str(tmp_path / "data")} | more,
            cwd=tmp_path / "typed-in",
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def recorded(folder: Path) -> None:
    """A ledger with one run that ended and one that did not."""
    user = User("ada", 1000, "local", "ops")
    with Ledger.open(folder) as ledger:

        def append(kind: Kind, run: str, payload: Any = None, **more: Any) -> None:
            common = {"tenant": "local", "actor": "core", "actor_version": "1", "principal": user.name}
            ledger.append(Draft(kind=kind, run=run, workflow="triage", **{**common, **more}), payload).wait()

        for run in ("r1aaaa", "r2bbbb"):
            task = {"task": f"find out about {run}\x1b[31m", "workflow": "", "user": user.json()}
            append(Kind.RUN_SUBMITTED, run, task)
            append(Kind.RUN_STARTED, run)
        append(Kind.STEP_COMPLETED, "r1aaaa", {"value": 1}, step="1", tokens=42, model_digest="ab", device_ms=7)
        append(Kind.RUN_ENDED, "r1aaaa", {"text": "all is well", "resolved_by": "model"}, decision="completed")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """The data folder that `command` works on, with something in it."""
    recorded(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def runtime(ledger: Path, tmp_path: Path) -> Iterator[None]:
    """A process that holds the ledger and listens on its socket."""
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    child = subprocess.Popen(
        [sys.executable, str(HOLDER), str(ledger)],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout
        assert child.stdout.readline() == "up\n"
        yield
        child.communicate()
    assert child.returncode == 0

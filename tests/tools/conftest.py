"""What tests of the tools share: a lab, a tool server that misbehaves, and ways to look at processes."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.catalog import Server
from tools.opslab.lab import Opslab
from tools.process import descendants

AWKWARD = Path(__file__).with_name("awkward_server.py")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Opslab]:
    """A healthy lab of its own."""
    with Opslab(tmp_path / "lab") as running:
        yield running


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opslab]:
    """A healthy lab for tests that leave it healthy."""
    with Opslab(tmp_path_factory.mktemp("shared") / "lab") as running:
        yield running


@pytest.fixture
def awkward(tmp_path: Path) -> Callable[..., Server]:
    """Makes the entry of a server that misbehaves as told."""

    def entry(story: str = "", **fields: object) -> Server:
        command = [sys.executable, "-I", "-S", str(AWKWARD), story, str(tmp_path)]
        return Server.model_validate({"command": command, "start_timeout_s": 60, **fields})

    return entry


@pytest.fixture
def gone() -> Callable[[list[int]], bool]:
    """Tells whether all of these processes end soon."""

    def wait(pids: list[int], patience_s: float = 60.0) -> bool:
        until = time.monotonic() + patience_s
        while any(alive(pid) for pid in pids):
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    return wait


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not, unless threads of it still end.

    Until the last of them has, its ports and locks are held.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, threads = fields[0], int(fields[17])
    return state != "Z" or threads > 1


@pytest.fixture
def family() -> Callable[[int], list[int]]:
    """A process and all its descendants now."""
    return lambda pid: [pid, *descendants(pid)]

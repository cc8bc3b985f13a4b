"""The real command, on a site of its own: real Ray, real default models, real lab. One at a time, never in parallel."""

import asyncio
import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import termios
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from runtime.gateway.client import Client
from runtime.gateway.messages import EventView
from runtime.gateway.paths import listening
from runtime.settings import Settings
from tools.opslab.lab import TOOLS_FILE, Opslab
from tools.opslab.layout import SERVICES

COMMAND = str(Path(sys.executable).parent / "bailiwick")
HERE = Path(__file__).parent
START_S, END_S = 120.0, 240.0
"""Patience, in seconds, with a command's start and end. A quiet machine needs a tenth of it, a busy one a half."""
TEST_S = 900
ROWS, COLUMNS = 50, 160
COLOURS = re.compile(r"\x1b\[[\d;]*m")
HOSTILE = {"RAY_ADDRESS": "192.0.2.1:6379", "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": "/nowhere"}
"""What a user of Ray may have set: it must change nothing here."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder starts Ray and a real model."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(TEST_S))


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


@dataclass(frozen=True)
class Trail:
    """What the ledger says of one run."""

    views: list[EventView]

    def of(self, kind: str) -> list[EventView]:
        """Its events of one kind."""
        return [view for view in self.views if view.event["kind"] == kind]

    def effects(self) -> dict[str, int]:
        """Tool -> how many effects were done."""
        return dict(
            Counter(view.event["tool"] for view in self.of("effect.outcome") if view.event["decision"] == "done")
        )

    def evidence(self) -> list[str]:
        """The tools of the calls that the model chose and that were executed without an error."""
        steps = [view.payload for view in self.of("step.completed")]
        chosen = [step for step in steps if (step["kind"], step["by"]) == ("call", "model")]
        return [step["name"] for step in chosen if not step["value"]["error"]]


class Running:
    """A command under way; its output goes to files, and so does what its terminal shows, if it has one."""

    def __init__(self, site: "Site", arguments: tuple[str, ...], environ: dict[str, str], terminal: bool) -> None:
        self._files = [(site.folder / f"{name}-{os.urandom(4).hex()}").open("w+") for name in ("out", "err")]
        self._terminal: Terminal | None = Terminal(self._files[0].fileno()) if terminal else None
        streams = self._terminal.streams() if self._terminal else (subprocess.DEVNULL, *self._files)
        self.process = subprocess.Popen(
            [COMMAND, *arguments],
            env=environ,
            cwd=site.typed_in,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            text=True,
            start_new_session=True,
        )
        if self._terminal:
            self._terminal.begin()

    def said(self) -> str:
        """All that a person has read until now: stderr, or the terminal."""
        return self._written()[0 if self._terminal else 1]

    def _written(self) -> list[str]:
        """Stdout and stderr as a person reads them: without the colours of a terminal."""
        return [COLOURS.sub("", Path(file.name).read_text(errors="replace")) for file in self._files]

    def type(self, line: str) -> None:
        """Type a line at its terminal."""
        assert self._terminal
        self._terminal.type(line)

    async def shows(self, text: str, times: int = 1) -> None:
        """Return once its terminal has shown a text so many times."""
        async with asyncio.timeout(END_S):
            while self.said().count(text) < times:
                assert self.process.poll() is None, self.said()
                await asyncio.sleep(0.05)

    def wait(self) -> Done:
        """Wait for its end."""
        code = self.process.wait(END_S)
        if self._terminal:
            self._terminal.close()
        for file in self._files:
            file.close()
        return Done(code, *self._written())

    def end(self) -> None:
        """Kill it if it still runs, or let its warden end what it started, and wait for that."""
        family = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=END_S)
        if self._terminal:
            self._terminal.close()
        for file in self._files:
            file.close()


class Terminal:
    """A pseudo-terminal. What the program at its other end writes is copied to `screen`, a file descriptor."""

    def __init__(self, screen: int) -> None:
        self._ours, self._theirs = pty.openpty()
        termios.tcsetwinsize(self._theirs, (ROWS, COLUMNS))
        self._screen = screen
        self._copying = threading.Thread(target=self._copy)

    def streams(self) -> tuple[int, int, int]:
        """Standard input, output and error for the program."""
        return (self._theirs,) * 3

    def begin(self) -> None:
        """Leave the other end to the program, and begin to copy."""
        os.close(self._theirs)
        self._copying.start()

    def _copy(self) -> None:
        with contextlib.suppress(OSError):  # EIO: everybody has left the other end
            while data := os.read(self._ours, 65536):
                os.write(self._screen, data)

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._ours, f"{line}\n".encode())

    def close(self) -> None:
        """Wait for the last that was written. May be called twice."""
        self._copying.join()
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1


class Site:
    """A home, a data folder and a runtime folder, and commands that work on them.

    They are typed in a folder with packages named as ours, each of which leaves a mark when it is imported.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bw-", dir="/tmp"))
        self.data = self.folder / "data"
        self.runtime = self.folder / "run" / "bailiwick"
        for name in ("home", "run"):
            (self.folder / name).mkdir(mode=0o700)
        self.typed_in, self.imported = self.folder / "typed-in", self.folder / "imported"
        for name in ("tools", "models", "store", "ray"):
            (self.typed_in / name).mkdir(parents=True)
            (self.typed_in / name / "__init__.py").write_text(f"open({str(self.imported)!r}, 'a').write({name!r})\n")
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("BAILIWICK_", "XDG_", "RAY_"))
        }
        own = {"HOME": str(self.folder / "home"), "XDG_RUNTIME_DIR": str(self.folder / "run")}
        self.environ = kept | HOSTILE | own | {"BAILIWICK_DATA_DIR": str(self.data)}
        self._begun: list[Running] = []

    def start(self, *arguments: str, terminal: bool = False, **more: str) -> Running:
        """Start a command, at a terminal of its own or with nobody there; `more` are environment variables."""
        self._begun.append(Running(self, arguments, self.environ | more, terminal))
        return self._begun[-1]

    def run(self, *arguments: str, **more: str) -> Done:
        """See a command through."""
        return self.start(*arguments, **more).wait()

    def settings(self, data: Path | None = None) -> Settings:
        """The settings that the commands are under, as far as sockets need them."""
        return Settings.load(data_dir=data or self.data, runtime_dir=self.runtime)

    @contextlib.asynccontextmanager
    async def client(self, running: Running, data: Path | None = None) -> AsyncIterator[Client]:
        """A client of the runtime that a command starts, once it listens."""
        socket = self.settings(data).socket
        async with asyncio.timeout(START_S):
            while not listening(socket):
                assert running.process.poll() is None, running.said()
                await asyncio.sleep(0.02)
        async with await Client.connect(socket) as client:
            yield client

    def trail(self, run: str, data: Path | None = None) -> "Trail":
        """All events of a run with their payloads, as `runs show` prints them."""
        done = self.run("runs", "show", run, "--payloads", "--json", "--data-dir", str(data or self.data))
        assert done.code == 0, done.err
        return Trail([EventView.model_validate(each) for each in done.json["trail"]])

    def close(self) -> None:
        """End and remove everything."""
        for each in self._begun:
            each.end()
        imported = self.imported.exists()
        shutil.rmtree(self.folder)
        assert not imported, "a package of the folder where the command was typed was imported"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One site for the tests of a file."""
    made = Site()
    yield made
    made.close()


@pytest.fixture
def sites() -> Iterator[Callable[[], Site]]:
    """Makes sites for one test."""
    made: list[Site] = []

    def make() -> Site:
        made.append(Site())
        return made[-1]

    yield make
    for each in made:
        each.close()


@dataclass(frozen=True)
class Premises:
    """A broken lab of the test's own, and the flags with which a user would bring it to `bailiwick run`."""

    lab: Opslab
    flags: tuple[str, ...]


@pytest.fixture
def premises() -> Iterator[Callable[[Site, str], Premises]]:
    """Makes a lab with a fault in it, its tools file and its inventory."""
    with contextlib.ExitStack() as stack:

        def make(site: Site, fault: str) -> Premises:
            folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
            stack.callback(shutil.rmtree, folder)
            lab = stack.enter_context(Opslab(folder))
            lab.inject(fault, 1)
            tools, inventory = site.folder / "tools.toml", site.folder / "inventory.json"
            tools.write_text(TOOLS_FILE.read_text().replace("{state}", str(lab.state)))
            inventory.write_text(json.dumps({"Service": SERVICES}))
            site.environ["BAILIWICK_INVENTORY"] = str(inventory)
            return Premises(lab, ("--tools", str(tools), "--policy", "lab"))

        yield make

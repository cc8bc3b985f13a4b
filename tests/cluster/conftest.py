"""Real clusters, each in a driver of its own; hostile packages lie where the command is typed."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

DRIVER = Path(__file__).with_name("driver.py")


class Driver:
    """A driver process and what it says, a JSON object a line."""

    def __init__(self, folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.stderr = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(DRIVER), str(folder / "run"), *arguments],
            cwd=hostile(folder / "typed-in"),
            env={**os.environ, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            start_new_session=True,
        )

    def ask(self, line: str) -> dict[str, Any]:
        """Tell the driver something and read its answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """The driver's next line."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, (self.folder / "stderr").read_text()
        found: dict[str, Any] = json.loads(line)
        return found

    def family(self) -> list[psutil.Process]:
        """All processes under the driver."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def said(self) -> str:
        """All of stderr until now."""
        return (self.folder / "stderr").read_text()

    def end(self) -> None:
        """Kill it, and what it leaves."""
        family = self.family() if self.process.poll() is None else []
        self.process.kill()
        self.process.communicate()
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=60)
        self.stderr.close()


def hostile(folder: Path) -> Path:
    """A folder with packages named as ours; each leaves a mark when it is imported."""
    for name in ("tools", "models", "store", "ray"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        mark = folder / "imported"
        (folder / name / "__init__.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    return folder


@pytest.fixture(scope="module")
def driver() -> Iterator[Callable[..., Driver]]:
    """Makes drivers, each in a short folder under /tmp; ends them all with the file that used them."""
    made: list[Driver] = []

    def make(*arguments: str, environ: dict[str, str] | None = None) -> Driver:
        made.append(Driver(Path(tempfile.mkdtemp(prefix="bw-", dir="/tmp")), *arguments, environ=environ))
        return made[-1]

    yield make
    for each in made:
        each.end()
        shutil.rmtree(each.folder, ignore_errors=True)

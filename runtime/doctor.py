"""The doctor: one check for each thing that has to be in place, and one for each door that stands open.

It looks and reports; it repairs nothing. A check that cannot tell fails: silence is never taken for health. Each check
is a function that returns what it found, so that each can be tried alone.
"""

import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from runtime.cluster.home import drivers
from runtime.probe import Access
from runtime.settings import Settings
from runtime.sockets import Listener, listeners
from store.records.canonical import Json
from store.records.errors import BailiwickError

LITTLE_SPACE = 2**30
"""Bytes of free space below which the doctor warns: a ledger of a million events takes about as much."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, what was found, and what to do unless it is fine."""

    name: str
    level: Level
    found: str
    do: str = ""

    def json(self) -> Json:
        """As plain JSON."""
        return asdict(self)


def examine(settings: Settings, *, deep: bool = False) -> list[Check]:
    """Every check of this installation. `deep` also hashes every model, and starts and stops a Ray cluster."""
    checks: list[Callable[[], Sequence[Check]]] = [
        python,
        engine,
        partial(models, settings.data_dir / "models", deep=deep),
        partial(data_folder, settings.data_dir),
        partial(runtime_folder, settings.runtime_dir),
        partial(policy, settings.policy),
        partial(running_sockets, settings),
    ]
    if deep:
        checks.append(partial(ray_starts, settings.runtime_dir))
    return [finding for check in checks for finding in _guarded(check)]


def python() -> list[Check]:
    """The interpreter, and whether it is one of a virtual environment."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = [Check("python", Level.OK if sys.version_info >= (3, 11) else Level.FAIL, f"{version} at {sys.executable}")]
    if sys.prefix == sys.base_prefix:
        found.append(Check("environment", Level.WARN, "not a virtual environment", "install into one: `make setup`"))
    else:
        found.append(Check("environment", Level.OK, sys.prefix))
    return found


def engine() -> list[Check]:
    """llama.cpp's binding, and whether it was built to use a GPU that is there."""
    from importlib.metadata import version

    from models.device import card
    from models.engine.runner import accelerated

    gpu = accelerated()
    found = f"llama-cpp-python {version('llama-cpp-python')}, built {'with' if gpu else 'without'} GPU support"
    if card() and not gpu:
        return [Check("engine", Level.WARN, f"{found}; this machine has a GPU", "build it: `ACCEL=cuda make setup`")]
    return [Check("engine", Level.OK, found)]


def models(folder: Path, *, deep: bool = False) -> list[Check]:
    """A chat model and an embedding model are there; with `deep`, every model is the file that was added."""
    from models.registry import Registry

    registry = Registry(folder)
    found = []
    for kind in ("chat", "embedding"):
        name = registry.default(kind)
        do = "" if name else "install the default models: `make setup`"
        found.append(Check(f"{kind} model", Level.OK if name else Level.FAIL, name or "there is none", do))
    for model in registry.list():
        if deep:
            registry.verify(model.name)
            found.append(Check("model file", Level.OK, f"{model.name}: sha256 {model.sha256[:12]} as recorded"))
        elif not model.file.is_file() or model.file.stat().st_size != model.bytes:
            do = f"put it back, or: bailiwick models remove {model.name}"
            found.append(Check("model file", Level.FAIL, f"{model.file} is gone or has another size", do))
    return found


def data_folder(folder: Path) -> list[Check]:
    """The data folder is this user's alone and takes a file, and there is room for more."""
    found = _private("data folder", folder)
    if found.level is Level.OK and folder.exists():
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"0" * 4096)
    free = shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free
    if free < LITTLE_SPACE:
        do = "free some: the ledger stops when the disk is full"
        return [found, Check("disk", Level.WARN, f"{free / 2**20:.0f} MiB free", do)]
    return [found, Check("disk", Level.OK, f"{free / 2**30:.1f} GiB free")]


def runtime_folder(folder: Path) -> list[Check]:
    """The folder of sockets and tokens is this user's alone."""
    return [_private("runtime folder", folder)]


def _private(name: str, folder: Path) -> Check:
    """Whether a folder is closed to all others, or could be made; it is neither made nor changed."""
    try:
        found = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        parent = next(parent for parent in folder.parents if parent.exists())
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return Check(name, Level.OK, f"{folder} is made at the first start")
        return Check(name, Level.FAIL, f"{folder} cannot be made in {parent}", "choose another, or fix the rights")
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return Check(name, Level.FAIL, f"{folder} is not a folder of this user's", "choose another")
    if stat.S_IMODE(found.st_mode) & 0o077:
        return Check(name, Level.FAIL, f"others may enter {folder}", f"chmod 700 {folder}")
    return Check(name, Level.OK, str(folder))


def policy(source: str) -> list[Check]:
    """The policy set can be loaded."""
    from runtime.gate.check import check

    findings = check(source)
    wrong = [Check("policy", Level.FAIL, f"{f.where}: {f.problem}", f.do) for f in findings if f.problem]
    return wrong or [Check("policy", Level.OK, f"{source}: {len(findings)} policies")]


def running_sockets(settings: Settings) -> list[Check]:
    """What every runtime of this user listens on: found by the homes of their clusters."""
    running = drivers(settings.runtime_dir)
    if not running:
        return [Check("sockets", Level.OK, "no runtime is up, so nothing of ours listens")]
    return [finding for pid in running for finding in sockets(listeners(pid))]


def sockets(found: Sequence[Listener]) -> list[Check]:
    """A finding for each listening socket; whatever is not known to refuse an unknown caller fails."""
    return [_socket(listener) for listener in found] or [
        Check("sockets", Level.FAIL, "a runtime is up, but its sockets cannot be seen", "run as the user it runs as")
    ]


def ray_starts(runtime_dir: Path) -> list[Check]:
    """Ray starts, every port of it asks for the token, and it is gone afterwards."""
    from runtime.cluster.cluster import Cluster

    begun = time.monotonic()
    with Cluster.start(runtime_dir):
        seconds = time.monotonic() - begun
        found = sockets(listeners(os.getpid()))
    return [Check("ray", Level.OK, f"started in {seconds:.1f} s"), *found]


def _socket(listener: Listener) -> Check:
    where = f"{listener.kind} {listener.address}, {listener.process} ({listener.pid}): {listener.access}"
    if listener.lab and listener.loopback:
        return Check("lab socket", Level.OK, f"{where}; it is the demo's lab that listens, not the runtime")
    if listener.access is Access.GONE:
        return Check("socket", Level.OK, where)
    if listener.access is not Access.REFUSED:
        return Check("socket", Level.FAIL, where, "stop the runtime (`bailiwick down`) and report this")
    if not listener.loopback:
        return Check("socket", Level.WARN, where, "it can be reached from other machines; a firewall should stop that")
    return Check("socket", Level.OK, where)


def _guarded(check: Callable[[], Sequence[Check]]) -> Iterator[Check]:
    """The findings of a check; an error in it is one."""
    name = getattr(check, "func", check).__name__.replace("_", " ")
    try:
        yield from check()
    except BailiwickError as error:
        yield Check(name, Level.FAIL, error.what + (f" ({error.where})" if error.where else ""), error.do)
    except Exception as error:
        yield Check(name, Level.FAIL, f"the check itself failed: {type(error).__name__}", "see --debug of the verb")

"""Process families: who dies with whom, who adopts orphans, who descends from whom. Linux, standard library only.

The guard of a tool server and the services of the lab start with this module, so it must stay cheap to import and
must never import anything of ours.
"""

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(parent: int, sig: signal.Signals = signal.SIGKILL) -> None:
    """Get `sig` when the thread that started this process ends. `parent` is the process id that it must have.

    Exits at once if the parent is already gone: it may have died between our start and this call. See prctl(2).
    """
    _prctl(PR_SET_PDEATHSIG, sig)
    if os.getppid() != parent:
        os._exit(1)


def become_subreaper() -> None:
    """Make orphaned descendants children of this process instead of init's, so that they stay its descendants."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def parents() -> dict[int, int]:
    """Process id -> parent's process id, for every process that can be seen now."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # The command name, in parentheses, may hold anything: fields are counted from its end.
                found[int(entry.name)] = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return found


def descendants(ancestor: int) -> list[int]:
    """The process ids of all that descend from `ancestor` now, itself not included, parents before children."""
    offspring: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        offspring.setdefault(parent, []).append(pid)
    family = list(offspring.get(ancestor, ()))
    for pid in family:
        family.extend(offspring.get(pid, ()))
    return family


def signal_all(pids: list[int], sig: signal.Signals) -> None:
    """Send `sig` to each; those already gone do not matter."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, sig)


def end_descendants(grace_s: float = 1.0, spare: frozenset[int] = frozenset()) -> None:
    """End every descendant of this process but those in `spare` and theirs, and reap what became ours.

    First SIGTERM, then after `grace_s` seconds SIGKILL until none is left (or, for the unkillable, two seconds more).
    Blocks. Only for a process whose descendants are all known to be expendable.
    """
    signals = [(signal.SIGTERM, grace_s), (signal.SIGKILL, 2.0)]
    for sig, patience in signals:
        until = time.monotonic() + patience
        signalled: set[int] = set()
        while left := _expendable(spare):
            fresh = [pid for pid in left if sig is signal.SIGKILL or pid not in signalled]
            signal_all(fresh, sig)
            signalled.update(fresh)
            _reap(left)
            if time.monotonic() >= until:
                break
            time.sleep(0.01)


def _expendable(spare: frozenset[int]) -> list[int]:
    family = parents()
    spared = set(spare)
    for pid in descendants(os.getpid()):
        if family.get(pid) in spared:
            spared.add(pid)
    return [pid for pid in descendants(os.getpid()) if pid not in spared]


def _reap(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

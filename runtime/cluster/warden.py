"""The warden: a small process that outlives the driver by a moment, and leaves nothing of the cluster behind.

    python -I -S warden.py HOME < pipe

Ray's own servers die with the driver, but in Ray 2.60 its agents and the workers' children do not. The driver holds the
other end of the warden's standard input; when that closes, for whatever reason, the warden kills every process whose
current folder is HOME/empty (all of Ray's are, and nothing else can be, for HOME is 0700) and removes HOME. It imports
nothing of ours and nothing from site-packages, so that it starts in milliseconds and cannot be replaced.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

EMPTY = "empty"
_ROUNDS, _PAUSE_S = 200, 0.02


def sweep(home: Path) -> None:
    """Kill what lives in `home`, until nothing does, and remove `home`."""
    for _ in range(_ROUNDS):
        if not _kill(home / EMPTY):
            break
        time.sleep(_PAUSE_S)
    with contextlib.suppress(OSError):
        (home / EMPTY).chmod(0o700)
    shutil.rmtree(home, ignore_errors=True)


def _kill(folder: Path) -> int:
    """Kill the processes whose current folder is `folder`; returns how many there were (zombies have none)."""
    found = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _is_in(entry.path, folder):
            found += 1
            with contextlib.suppress(OSError):
                _kill_exactly(int(entry.name), folder)
    return found


def _kill_exactly(pid: int, folder: Path) -> None:
    """Kill `pid` if it still is the process we looked at: the descriptor pins it while its folder is read again."""
    descriptor = os.pidfd_open(pid)
    try:
        if _is_in(f"/proc/{pid}", folder):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


def _is_in(process: str, folder: Path) -> bool:
    try:
        return str(Path(process, "cwd").readlink()).removesuffix(" (deleted)") == str(folder)
    except OSError:
        return False


def main() -> None:
    """Wait for the end of standard input, then sweep the folder that the only argument names."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    while os.read(0, 4096):
        pass
    sweep(Path(sys.argv[1]))


if __name__ == "__main__":
    main()

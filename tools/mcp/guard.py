"""The guard of one tool server: the process between the tool host and the server, so that nothing outlives either.

Run as `python -I -S guard.py PARENT_PID COMMAND...`. It hands its standard streams to the server, adopts whatever
the server leaves behind, and ends all of it when the server ends, when it is told to (SIGTERM), or when the tool host
dies in whatever way. If the guard itself is killed, the kernel kills the server. It must never read or write the
streams, and imports nothing but the standard library and `tools.process`.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

if __name__ == "__main__":  # with -I -S our own packages are not on the path; appended, they cannot shadow others
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from tools.process import become_subreaper, die_with_parent, end_descendants

CANNOT_START = 127


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(parent: int, command: list[str]) -> int:
    """Run `command` until it ends; the exit status is the server's, negative if a signal ended it."""
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, _stop)
    become_subreaper()
    die_with_parent(parent, signal.SIGTERM)
    guard = os.getpid()
    try:
        # A single thread: running Python between fork and exec is safe here, as it would not be in the tool host.
        server = subprocess.Popen(command, start_new_session=True, preexec_fn=lambda: die_with_parent(guard))
    except OSError:
        return CANNOT_START
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        return _wait(server.pid)
    finally:
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(sig, signal.SIG_IGN)
        end_descendants()


def _wait(server: int) -> int:
    while True:  # reaps adopted orphans too
        pid, status = os.wait()
        if pid == server:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))

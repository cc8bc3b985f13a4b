"""What the command line says when something fails, and the exit code it ends with. One line on stderr, always.

stdout carries results and nothing else. A traceback appears only with `--debug` or BAILIWICK_DEBUG=1, because it can
hold arguments of calls. Nothing in here may fail for want of a library.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable

from store.records import errors
from store.records.errors import BailiwickError

_TROUBLES = {
    errno.ENOSPC: ("the disk is full", "free some space; nothing that was acknowledged is lost"),
    errno.EDQUOT: ("the disk quota is used up", "free some space; nothing that was acknowledged is lost"),
    errno.EROFS: ("the file system is read-only", "choose another folder with --data-dir"),
    errno.EACCES: ("access is not allowed", "fix the rights, or choose another folder with --data-dir"),
    errno.EPERM: ("access is not allowed", "fix the rights, or choose another folder with --data-dir"),
    errno.EADDRINUSE: ("the address is in use", "stop what uses it and try again"),
    errno.EMFILE: ("too many open files", "raise the limit (ulimit -n) and try again"),
    errno.ENOENT: ("there is no such file", "check the path"),
}


def say(line: str) -> None:
    """One line on stderr, safe on a terminal; a stderr that is gone is nobody's problem."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(line.split()))
    try:
        sys.stderr.write(f"bailiwick: {safe}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def run(main: Callable[[], int | None], debug: bool = False) -> int:
    """What `main` returns (None is 0), or the exit code of what it raised, after saying it in one line."""
    try:
        code = main() or errors.OK
        sys.stdout.flush()
        return code
    except BaseException as error:
        if debug or os.environ.get("BAILIWICK_DEBUG", "") not in ("", "0"):
            traceback.print_exc()
        return _explain(error)


def _explain(error: BaseException) -> int:
    if isinstance(error, BailiwickError):
        say(str(error))
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        say("interrupted; an open run goes on with `bailiwick resume`")
        return errors.INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else errors.FAILED if error.code else errors.OK
    if isinstance(error, BrokenPipeError):
        return _hushed()
    if isinstance(error, OSError) and error.errno in _TROUBLES:
        what, do = _TROUBLES[error.errno]
        say(str(BailiwickError(what, str(error.filename or ""), do)))
        return errors.FAILED
    say(f"unexpected {type(error).__name__}; try again with --debug to see where, and report it")
    return errors.FAILED


def _hushed() -> int:
    """The reader of stdout left (`| head`): end quietly, and keep Python's last flush from complaining."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return 128 + 13

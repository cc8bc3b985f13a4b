"""Where runtimes listen: the folder of sockets, the usual socket, and which sockets somebody listens on."""

import os
import socket
from pathlib import Path

VARIABLE = "BAILIWICK_SOCKET"
PREFIX = "embedded-"


def runtime_folder() -> Path:
    """The folder of this user's sockets, which need not exist yet; whoever listens makes it private."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(base if base.startswith("/") else f"/tmp/bailiwick-{os.getuid()}") / "bailiwick"


def default_socket() -> Path:
    """Where the daemon listens: `$BAILIWICK_SOCKET`, or gateway.sock in the runtime folder."""
    given = os.environ.get(VARIABLE, "")
    return Path(given).absolute() if given else runtime_folder() / "gateway.sock"


def embedded_socket() -> Path:
    """Where a runtime embedded in this process listens, so that `bailiwick top` can find it."""
    given = os.environ.get(VARIABLE, "")
    return Path(given).absolute() if given else runtime_folder() / f"{PREFIX}{os.getpid()}.sock"


def newest_socket() -> Path:
    """The newest socket that somebody listens on; the default one if there is none or it was named explicitly."""
    if os.environ.get(VARIABLE):
        return default_socket()
    return next((path for path in sockets(runtime_folder()) if listening(path)), default_socket())


def sockets(folder: Path) -> list[Path]:
    """The sockets in a folder, the newest first."""
    born: list[tuple[int, Path]] = []
    for path in folder.glob("*.sock"):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        born.append((status.st_ctime_ns, path))
    return [path for _, path in sorted(born, reverse=True)]


def listening(path: Path) -> bool:
    """True if a process listens on the socket, however busy it is. Does not wait.

    Raises PermissionError if this user may not even try.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except PermissionError:
            raise
        except OSError:
            return False
    return True

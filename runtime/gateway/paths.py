"""Where runtimes listen: the folder of sockets, and which of them somebody listens on."""

import os
import socket
from pathlib import Path

VARIABLE = "BAILIWICK_SOCKET"


def runtime_folder() -> Path:
    """The folder of this user's sockets, which need not exist yet; whoever listens makes it private."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(base if base.startswith("/") else f"/tmp/bailiwick-{os.getuid()}") / "bailiwick"


def newest_socket() -> Path:
    """What `$BAILIWICK_SOCKET` says, else the newest socket that somebody listens on.

    If nobody listens, a path in the runtime folder at which connecting says so.
    """
    given = os.environ.get(VARIABLE, "")
    if given:
        return Path(given).absolute()
    folder = runtime_folder()
    return next((path for path in sockets(folder) if listening(path)), folder / "gateway.sock")


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

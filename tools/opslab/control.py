"""How the lab's other processes speak to its supervisor: one command, one answer, over the Unix socket in STATE."""

import json
import os
import socket
from pathlib import Path
from typing import Any

from store.records.errors import Timeout, ToolFailed, Unreachable

PATIENCE_S = 20.0


def ask(state: Path, command: str, patience_s: float = PATIENCE_S, **fields: Any) -> Any:
    """The supervisor's answer. Raises ToolFailed with its reason if it refuses, Unreachable if it is gone, Timeout."""
    line = json.dumps({"command": command, **fields}).encode() + b"\n"
    try:
        folder = os.open(state, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        raise Unreachable("the lab has no state folder", str(state), "start it first") from None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(patience_s)
            link.connect(f"/proc/self/fd/{folder}/supervisor.sock")
            link.sendall(line)
            answer = b"".join(iter(lambda: link.recv(65536), b""))
    except TimeoutError:
        raise Timeout(f"the lab's supervisor did not answer in {patience_s:g} s", str(state)) from None
    except OSError:
        raise Unreachable("the lab's supervisor cannot be reached", str(state), "start the lab again") from None
    finally:
        os.close(folder)
    if not answer.endswith(b"\n"):
        raise Unreachable("the lab's supervisor went away while answering", str(state), "start the lab again")
    reply = json.loads(answer)
    if not reply["ok"]:
        raise ToolFailed(str(reply["error"]))
    return reply["result"]

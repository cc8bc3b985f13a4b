"""The tools of the fleet: three that have an effect at the counter, and two that look. Standard library only.

`keyed` may be repeated under its key; `asked` must not be, but can be asked about by its key; `blind` knows no key, and
nobody can be asked. They differ in nothing else.
"""

import json
import socket
from pathlib import Path
from typing import Any

SERVER = "book"
KINDS = ("keyed", "asked", "blind")
PER_RUN = 2
"""Effects of one run."""
PATIENCE_S = 20.0
"""How long the counter may take to answer."""

LOCAL: dict[str, Any] = {"egress": False, "irreversible": False, "timeout_s": 30.0}
CLASSIFIED: dict[str, dict[str, Any]] = {
    "keyed": {**LOCAL, "effect": "write", "key_argument": "key"},
    "asked": {**LOCAL, "effect": "write", "key_argument": "key", "reconcile": f"{SERVER}.status"},
    "blind": {**LOCAL, "effect": "write"},
    "status": {**LOCAL, "effect": "read"},
    "times": {**LOCAL, "effect": "read"},
}
"""What the owner of the tools says of each, in the words of a tool record."""


def ask(counter: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The counter's answer to one request. Raises OSError if it does not answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(counter))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as stream:
            answer: dict[str, Any] = json.loads(stream.readline())
            return answer


class Book:
    """The tools over one counter. A `careless` one ignores the key that it promised to heed."""

    def __init__(self, counter: Path, careless: bool = False) -> None:
        self._counter, self._careless = counter, careless

    def keyed(self, reference: str, key: str) -> dict[str, int]:
        """Record a parcel in the delivery book, once per key."""
        return self._effect("keyed", reference, key, once=not self._careless)

    def asked(self, reference: str, key: str) -> dict[str, int]:
        """Record a parcel in the delivery book; the book can be asked about a key."""
        return self._effect("asked", reference, key)

    def blind(self, reference: str) -> dict[str, int]:
        """Record a parcel in the delivery book, without any key."""
        return self._effect("blind", reference, reference)

    def status(self, key: str) -> dict[str, Any]:
        """Whether the parcel under a key was recorded."""
        return ask(self._counter, {"do": "status", "key": key})

    def times(self, reference: str) -> dict[str, int]:
        """How often a parcel stands in the delivery book."""
        return ask(self._counter, {"do": "times", "reference": reference})

    def _effect(self, kind: str, reference: str, key: str, once: bool = False) -> dict[str, int]:
        return ask(self._counter, {"do": "effect", "kind": kind, "reference": reference, "key": key, "once": once})

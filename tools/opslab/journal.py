"""The lab's own count of effects, on disk before it answers, so that nobody has to take the runtime's word for it.

One line when an effect begins, synced before anything happens; one when it is done, synced before anybody hears of
it. A key that is done gives its recorded result again and does nothing. Standard library only.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Refused(Exception):
    """An effect was not carried out; the message says why and is an answer to whoever asked."""


@dataclass
class Effect:
    """What the journal knows about one key. `result` is None until it is done."""

    tool: str
    arguments: dict[str, Any]
    result: dict[str, Any] | None = None
    attempts: int = 1


class Journal:
    """The journal of one lab. One writer: the supervisor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        _mend(path)
        self._effects = load(path)

    def find(self, key: str) -> Effect | None:
        """What is known under a key."""
        return self._effects.get(key)

    def repeat(self, key: str, tool: str, arguments: dict[str, Any]) -> Effect | None:
        """The effect under a key seen before, this attempt counted. Raises Refused if it was another effect."""
        known = self._effects.get(key)
        if known is None:
            return None
        if (known.tool, known.arguments) != (tool, arguments):
            raise Refused("the key was used for another effect")
        known.attempts += 1
        self._write({"key": key, "state": "repeated"})
        return known

    def begin(self, key: str, tool: str, arguments: dict[str, Any]) -> Effect:
        """Put on disk that the effect is about to happen."""
        self._write({"key": key, "state": "begun", "tool": tool, "arguments": arguments})
        effect = self._effects[key] = Effect(tool, arguments)
        return effect

    def done(self, key: str, result: dict[str, Any]) -> None:
        """Put on disk that it happened, and what came of it."""
        self._write({"key": key, "state": "done", "result": result})
        self._effects[key].result = result

    def _write(self, entry: dict[str, Any]) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, json.dumps(entry).encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)


def _mend(path: Path) -> None:
    """Cut off a last line that a crash tore, so that the next one does not continue it. It was never acted upon."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)


def load(path: Path) -> dict[str, Effect]:
    """Key -> effect, from a journal on disk. A last line that was torn by a crash counts as not written."""
    effects: dict[str, Effect] = {}
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for line in lines:
        entry = json.loads(line)
        if entry["state"] == "begun":
            effects[entry["key"]] = Effect(entry["tool"], entry["arguments"])
        elif entry["state"] == "done":
            effects[entry["key"]].result = entry["result"]
        else:
            effects[entry["key"]].attempts += 1
    return effects


def executions(path: Path) -> dict[str, int]:
    """Tool -> how often it was carried out. Every beginning counts: an effect that began may have happened."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    begun = [entry["tool"] for entry in map(json.loads, lines) if entry["state"] == "begun"]
    return dict(sorted(Counter(begun).items()))

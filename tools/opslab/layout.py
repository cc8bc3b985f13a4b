"""Where everything of a lab lies, and how its small files are read and written. Standard library only.

STATE/inventory.json                   the trusted service inventory
STATE/supervisor.sock, supervisor.log  the supervisor
STATE/executions.jsonl                 the journal of effects
STATE/{tickets,pages,mail}.jsonl       what was filed, paged and mailed
STATE/NAME/config/N.json               versions of a service's config; the highest is current
STATE/NAME/{dependency.json,log}       where its dependency is; its log
STATE/NAME/{run,data,tables}/          lock file; records, under a quota; what it reads
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICES = ("gateway", "orders", "inventory")
DEPENDS_ON = {"gateway": "orders", "orders": "inventory"}
OWNERS = {"gateway": "edge-team", "orders": "commerce-team", "inventory": "warehouse-team"}
HOST = "127.0.0.1"
FRONT_DOOR_TIMEOUT_S = 1.2


@dataclass(frozen=True, slots=True)
class Place:
    """One service's folder."""

    folder: Path

    @property
    def log(self) -> Path:
        """Its log, a line an entry."""
        return self.folder / "log"

    @property
    def data(self) -> Path:
        """Its records; everything in here counts towards the quota."""
        return self.folder / "data"

    @property
    def lock(self) -> Path:
        """The file that says which process is this service."""
        return self.folder / "run" / "lock.json"

    @property
    def dependency(self) -> Path:
        """The host and port at which it looks for its dependency."""
        return self.folder / "dependency.json"

    def versions(self) -> list[int]:
        """The versions of its config, oldest first."""
        return sorted(int(path.stem) for path in (self.folder / "config").glob("*.json"))

    def config(self, version: int = 0) -> dict[str, Any]:
        """A version of its config; 0 is the current one."""
        loaded: dict[str, Any] = read(self.folder / "config" / f"{version or self.versions()[-1]}.json")
        return loaded

    def roll_out(self, config: dict[str, Any]) -> int:
        """Write a new version of the config; returns its number. The service reads it when it starts."""
        version = (self.versions() or [0])[-1] + 1
        write(self.folder / "config" / f"{version}.json", {**config, "version": version})
        return version


def place(state: Path, service: str) -> Place:
    """The folder of one service of the lab in `state`."""
    if service not in SERVICES:
        raise ValueError("no such service")
    return Place(state / service)


def read(path: Path) -> Any:
    """The JSON in a file."""
    return json.loads(path.read_bytes())


def write(path: Path, value: Any) -> None:
    """Put JSON into a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=1) + "\n")
    draft.replace(path)


def append(path: Path, line: str) -> None:
    """Add a line to a file in one write, so that the lines of several processes do not mix."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, line.encode() + b"\n")
    finally:
        os.close(handle)


def inventory(state: Path) -> list[dict[str, Any]]:
    """The trusted service inventory: name, port, owner, depends_on of each service, front door first."""
    services: list[dict[str, Any]] = read(state / "inventory.json")["services"]
    return services


def port_of(state: Path, service: str) -> int:
    """The port at which a service is registered."""
    return int(next(entry["port"] for entry in inventory(state) if entry["name"] == service))

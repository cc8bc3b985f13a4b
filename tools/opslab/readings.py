"""What can be read of a lab: short and factual, for prompts of small models.

A reading changes nothing and asks the processes themselves; what it quotes from logs is untrusted.
"""

import re
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from store.records.errors import ToolFailed
from tools.opslab.control import ask
from tools.opslab.layout import FRONT_DOOR_TIMEOUT_S, HOST, SERVICES, inventory, place, port_of
from tools.opslab.search import Match, search

RECENT_BYTES = 64 * 1024
NOTABLE, ORDINARY = 9, 3
LONGEST_LINE = 300


class Listed(TypedDict):
    """One service of the inventory."""

    name: str
    port: int
    owner: str
    depends_on: str


class ServiceList(TypedDict):
    """The trusted inventory; requests go from the first service down."""

    services: list[Listed]


class FrontDoor(TypedDict):
    """One request through the front door: HTTP status (0: no answer in time) and milliseconds."""

    ok: bool
    status: int
    ms: int


class Health(TypedDict):
    """Whether what was asked about works; the state of each service in a few words."""

    ok: bool
    front_door: FrontDoor | None
    services: dict[str, str]


class LogLines(TypedDict):
    """Lines of a log, oldest first; lines alike but for numbers are told once, with a count."""

    service: str
    lines: list[str]


class Metrics(TypedDict):
    """Counters and gauges of a service; only the supervisor's when it does not answer."""

    service: str
    answered: bool
    values: dict[str, int]


class ConfigDiff(TypedDict):
    """What the last rollout changed: key -> [before, after]. `previous` is 0 if there was none."""

    service: str
    version: int
    previous: int
    changed: dict[str, list[Any]]


class Runbooks(TypedDict):
    """The runbooks that fit best."""

    runbooks: list[Match]


def list_services(state: Path) -> ServiceList:
    """The services with port, owner and dependency."""
    return {"services": [Listed(**entry) for entry in inventory(state)]}  # type: ignore[typeddict-item]


def front_door(state: Path) -> FrontDoor:
    """Send one request through the front door and back."""
    begun = time.monotonic()
    status, _ = _get(port_of(state, SERVICES[0]), "/", FRONT_DOOR_TIMEOUT_S)
    return {"ok": status == 200, "status": status, "ms": int((time.monotonic() - begun) * 1000)}


def check_health(state: Path, service: str = "") -> Health:
    """The health of one service, or of the front door and all services.

    `ok` of the whole is the front door's; a fresh request goes through it first, so that every service has just worked.
    """
    entry = None if service else front_door(state)
    said = ask(state, "health", services=[service] if service else list(SERVICES))
    services = {name: _words(one) for name, one in said.items()}
    ok = entry["ok"] if entry else said[service]["status"] in ("ok", "slow")
    return {"ok": ok, "front_door": entry, "services": services}


def _words(health: dict[str, str]) -> str:
    return f"{health['status']}: {health['detail']}" if health["detail"] else health["status"]


def read_logs(state: Path, service: str) -> LogLines:
    """The newest lines of a service's log that matter: warnings and errors first, then a few others."""
    path = place(state, service).log
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - RECENT_BYTES))
        recent = file.read().decode(errors="replace").splitlines()
    told: dict[str, tuple[int, int, str]] = {}
    for number, line in enumerate(recent):
        alike = re.sub(r"\d+", "#", line)
        told[alike] = (number, told.get(alike, (0, 0, ""))[1] + 1, line)
    newest = sorted(told.values())
    notable = [item for item in newest if re.match(r"\S+ (WARN|ERROR|FATAL) ", item[2])][-NOTABLE:]
    ordinary = [item for item in newest if re.match(r"\S+ INFO ", item[2])][-ORDINARY:]
    return {"service": service, "lines": [_line(count, line) for _, count, line in sorted(notable + ordinary)]}


def _line(count: int, line: str) -> str:
    if len(line) > LONGEST_LINE:
        line = f"{line[:LONGEST_LINE]} … {len(line) - LONGEST_LINE} characters more"
    return f"{line} ({count} times)" if count > 1 else line


def get_metrics(state: Path, service: str) -> Metrics:
    """The metrics of a service, and how often it was restarted."""
    status, body = _get(port_of(state, service), "/metrics", 1.0)
    values = {
        name.removeprefix(f"{service}_"): int(value)
        for name, _, value in (line.partition(" ") for line in body.decode().splitlines())
    }
    known = ask(state, "status")[service]
    values |= {"restarts": known["restarts"], "crashes_in_a_row": known["exits"]}
    return {"service": service, "answered": status == 200, "values": values}


def diff_config(state: Path, service: str) -> ConfigDiff:
    """The current config of a service against the version before it."""
    home = place(state, service)
    version, *older = home.versions()[::-1]
    if not older:
        return {"service": service, "version": version, "previous": 0, "changed": {}}
    now, was = home.config(version), home.config(older[0])
    changed = {key: [was.get(key), now.get(key)] for key in sorted(now) if was.get(key) != now.get(key)}
    changed.pop("version")
    return {"service": service, "version": version, "previous": older[0], "changed": changed}


def search_runbooks(query: str) -> Runbooks:
    """The two runbooks that fit a symptom best."""
    return {"runbooks": search(query)}


def _get(port: int, path: str, patience_s: float) -> tuple[int, bytes]:
    """GET from a service: status and body; status 0 if it refuses or is late."""
    connection = HTTPConnection(HOST, port, timeout=patience_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException):
        return 0, b""
    finally:
        connection.close()


def known_service(service: str) -> str:
    """`service`, if there is one of that name. Raises ToolFailed."""
    if service not in SERVICES:
        raise ToolFailed("there is no such service", do=f"it is one of {', '.join(SERVICES)}")
    return service

"""A new lab on disk: folders, first configs, tables, inventory. Standard library only."""

import shutil
from pathlib import Path
from typing import Any

from tools.opslab.layout import DEPENDS_ON, HOST, OWNERS, SERVICES, Place, place, write

TIMEOUTS_MS = {"gateway": 900, "orders": 600, "inventory": 0}
OPENING = "opening.json"
"""A record that every service has from the start and that no repair touches."""
PATHS = {"gateway": "/", "orders": "/orders", "inventory": "/stock"}


def lay_out(state: Path, ports: dict[str, int]) -> None:
    """Write a healthy lab into `state`. A lab that was there before goes, but for its journal and what it sent."""
    for service in SERVICES:
        shutil.rmtree(state / service, ignore_errors=True)
        _service(place(state, service), service, ports)
    entries = [
        {"name": name, "port": ports[name], "owner": OWNERS[name], "depends_on": DEPENDS_ON.get(name, "")}
        for name in SERVICES
    ]
    write(state / "inventory.json", {"services": entries})


def first_config(service: str) -> dict[str, Any]:
    """The config that a service starts its life with."""
    dependency = DEPENDS_ON.get(service, "")
    return {
        "path": PATHS[service],
        "dependency": dependency,
        "dependency_path": PATHS[dependency] if dependency else "",
        "timeout_ms": TIMEOUTS_MS[service],
        "pool_size": 16,
        "quota_kb": 256,
        "table": "prices.json" if service == "orders" else "stock.json" if service == "inventory" else "routes.json",
    }


def _service(home: Place, service: str, ports: dict[str, int]) -> None:
    for folder in ("config", "run", "data", "tables"):
        (home.folder / folder).mkdir(parents=True, mode=0o700)
    config = first_config(service)
    home.roll_out(config)
    write(home.folder / "tables" / config["table"], {f"item-{number}": number * 7 % 50 for number in range(20)})
    write(home.data / OPENING, {"opened": service})
    if config["dependency"]:
        write(home.dependency, {"host": HOST, "port": ports[config["dependency"]]})

"""The process of one measurement: `python -m benchmarks.durability.contender ORDER`, started by process.py.

Every measurement has a process and a folder of its own, so that no contender finds another's memory, threads or files.
ORDER is JSON; the figures are the one line on stdout.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

OURS = ("sequence", "strict", "many", "grow", "leave", "recover")
PEERS = ("raw", "dbos", "langgraph_sync", "langgraph_async", "langgraph_aio", "langgraph_kept")


def obey(order: dict[str, Any]) -> dict[str, float]:
    """The figures of what `do` names, done in `folder` with the rest of the order. Only what is asked is imported."""
    do, folder = order.pop("do"), Path(order.pop("folder"))
    if do not in OURS + PEERS:
        raise ValueError(f"unknown order: {do}")
    module = importlib.import_module(f"benchmarks.durability.{'ours' if do in OURS else 'peers'}")
    figures: dict[str, float] = getattr(module, do)(folder, **order)
    return figures


def main() -> None:
    """Does what the command line says."""
    os.umask(0o077)
    print(json.dumps(obey(json.loads(sys.argv[1]))), flush=True)


if __name__ == "__main__":
    main()

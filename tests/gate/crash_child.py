"""One life of a core, for test_crash.py: a gate over a real ledger that makes one effect, or dies at a named point.

Arguments: data folder, file that stands for the world, crash point or "-".
"""

import asyncio
import os
import sys
from pathlib import Path

from runtime import crashpoints
from runtime.gate.budgets import Budgets
from runtime.gate.build import build
from runtime.gate.call import ToolCall
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from store.ledger.ledger import Ledger
from store.records.errors import ReplayMismatch
from store.records.identity import Agent, Principal, User
from store.records.labels import trusted
from tools.functions import FunctionToolset
from tools.host import ToolHost


def tools(world: Path) -> FunctionToolset:
    """A tool that does its effect every time it is called, and one that says what was done under a key."""
    made = FunctionToolset("ops")

    @made.tool(effect="read", egress=False, irreversible=False)
    def effect_status(key: str) -> dict[str, object]:
        happened = world.exists() and key in world.read_text().splitlines()
        return {"happened": happened, "result": "as reconciled"}

    @made.tool(egress=False, irreversible=False, target="service", key_argument="key", reconcile="ops.effect_status")
    def restart_service(service: str, key: str) -> str:
        with world.open("a") as file:
            file.write(f"{key}\n")
            os.fsync(file.fileno())
        return "done"

    return made


async def main(folder: Path, world: Path, point: str) -> None:
    """Make the effect once, and print what came of it."""
    if point != "-":
        crashpoints.arm(point)
    host = ToolHost()
    await host.open([], [tools(world)])
    with Ledger.open(folder) as ledger:
        records = host.records().values()
        house = build(
            judge=Policy.load("lab", records, Inventory.services(["orders"])),
            budgets=Budgets(),
            host=host,
            recorder=ledger,
            records=records,
            knows=lambda name, _: name == "bob",
            epoch=ledger.epoch,
        )
        house.replay(ledger.reader.unsettled())
        call = ToolCall(
            run="r1",
            step="1",
            record=host.records()["ops.restart_service"],
            arguments={"service": "orders"},
            principal=Principal(User("alice", 1000, "local", "ops"), Agent("worker", "1")),
            labels=trusted("local", "user"),
            key="r1/1",
            reviewed=True,
        )
        try:
            print((await house.call(call)).value)
        except ReplayMismatch:
            print("has an outcome")
    await host.close()


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))

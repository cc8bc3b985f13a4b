"""Measures the gate: `python -m benchmarks.gate [--quick] [--json]`.

The time that all wrappers together add to a call, in one process: a local read and an effect pass the whole gate over a
real ledger on disk and a tool host that answers at once, and the time within that host is taken off.

`p50_ms` and `p99_ms` are of a read, waits excluded: the processor's time of the thread that the gate runs in, without
that of the ledger's writer or of anything else on the machine. It is all the gate's own: labels, policy, approval,
budget, what is recorded. The gate decides alike, without asking again, what looks alike to the policies;
`first_p50_ms` is of those of these reads that look like none before, for which it asks the policy engine. `wall_` is
what passed on the clock besides. An effect waits until its intent is on disk and then until its outcome is; those waits
are in its figures, which are the clock's: nobody gets a result before.

Policy is a site's: 20 policies, the shipped set among them, over 200 entities of the inventory and 40 tools; each call
comes from another run and step, by one of several users, with one of 200 services as its target. The first calls, which
fill what the gate keeps (parsed principals, read texts), count as well.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.options import tell
from runtime.gate.budgets import Budgets
from runtime.gate.build import Gatehouse, build
from runtime.gate.call import ToolCall
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.gate.policy_files import policy_files
from runtime.gate.provenance.grounds import Grounds
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.errors import BailiwickError
from store.records.identity import Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels
from tools.record import OutputLabel, ToolRecord
from tools.toolset import Outcome

POLICIES, ENTITIES, TOOLS, USERS = 20, 200, 40, 16
READS, EFFECTS, QUICK = 20_000, 1_000, 10
NS_PER_MS = 1e6
LABELS = Labels("local", Classification.INTERNAL, Integrity.UNTRUSTED, ("definitions:ops", "tool:ops.read_0", "user"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark. The exit code is 0, or 2 with one line if it cannot."""
    options = _options().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="bailiwick-gate-") as folder:
            found = asyncio.run(measure(Path(folder), QUICK if options.quick else 1))
    except BailiwickError as error:
        print(f"benchmarks.gate: {error}", file=sys.stderr)
        return 2
    for name, value in found.items():
        tell(f"{name:<16} {value:>10,}")
    if options.json:
        print(json.dumps(found))
    return 0


@dataclass
class Host:
    """A tool host that answers at once, and knows how long it was busy with that."""

    spent_ns: int = 0

    async def call(self, name: str, arguments: dict[str, Json], key: str, timeout_s: float, epoch: int) -> Outcome:
        """As Host.call."""
        started = time.perf_counter_ns()
        outcome = Outcome({"lines": [f"{name} {arguments} {key} {timeout_s} {epoch}"]})
        self.spent_ns += time.perf_counter_ns() - started
        return outcome


async def measure(folder: Path, share: int) -> dict[str, float]:
    """All figures, with one of `share` so many calls."""
    records, host = _records(), Host()
    inventory = Inventory.services(f"service-{number}" for number in range(ENTITIES))
    with Ledger.open(folder / "data") as ledger:
        judge = Policy.load(_policies(folder), records, inventory)
        gate = build(
            judge=judge,
            budgets=Budgets(),
            host=host,
            recorder=ledger,
            records=records,
            knows=lambda _, __: True,
            epoch=ledger.epoch,
        )
        calls = [_call(records[0::2][number % (TOOLS // 2)], number) for number in range(READS // share)]
        own, reads = await _timed(gate, host, calls)
        first = {_looks(call): took for call, took in zip(reversed(calls), reversed(own), strict=True)}
        calls = [_call(records[1::2][number % (TOOLS // 2)], number) for number in range(EFFECTS // share)]
        _, effects = await _timed(gate, host, calls)
    return {
        "policies": len(judge.policy_names),
        "entities": ENTITIES,
        "reads": len(reads),
        "p50_ms": round(median(own), 4),
        "p99_ms": round(quantiles(own, n=100)[98], 4),
        "first": len(first),
        "first_p50_ms": round(median(first.values()), 4),
        "wall_p50_ms": round(median(reads), 4),
        "wall_p99_ms": round(quantiles(reads, n=100)[98], 4),
        "effects": len(effects),
        "effect_p50_ms": round(median(effects), 4),
        "effect_p99_ms": round(quantiles(effects, n=100)[98], 4),
    }


async def _timed(gate: Gatehouse, host: Host, calls: Sequence[ToolCall]) -> tuple[list[float], list[float]]:
    """What each call took of this thread's time, and on the clock, less the time within the host, in milliseconds. A
    pause after each lot lets the ledger's writer have its turn, as it has in a runtime where models think between
    calls."""
    own, took = [], []
    gc.collect()
    for number, call in enumerate(calls):
        before = host.spent_ns
        started, worked = time.perf_counter_ns(), time.thread_time_ns()
        await gate.call(call)
        within = host.spent_ns - before
        own.append((time.thread_time_ns() - worked - within) / NS_PER_MS)
        took.append((time.perf_counter_ns() - started - within) / NS_PER_MS)
        if number % 16 == 0:
            await asyncio.sleep(0.001)
    return own, took


def _call(record: ToolRecord, number: int) -> ToolCall:
    user = User(f"user-{number % USERS}", 1000 + number % USERS, "local", "ops", ("requester",), ("staff",))
    run, step = f"r{number // 20:015x}-{record.effect}", str(number % 20)
    return ToolCall(
        run=run,
        step=step,
        record=record,
        arguments={"service": f"service-{number * 7 % ENTITIES}", "lines": number % 50, "since": "2026-11-01"},
        principal=Principal(user, Agent("worker", "3")),
        labels=LABELS,
        workflow="triage",
        workflow_version=2,
        key="" if record.local_read else f"{run}/{step}",
        reviewed=not record.local_read,
        grounds=Grounds((f"See to service-{number * 7 % ENTITIES} since 2026-11-01, and show {number % 50} lines.",)),
    )


def _looks(call: ToolCall) -> tuple[Principal, str, Json]:
    """All that differs between the reads of the benchmark and that its policies look at."""
    return call.principal, call.record.name, call.arguments["lines"]


def _records() -> list[ToolRecord]:
    """Reads and effects in turn, each with three arguments and one of them its target."""
    schema = {
        "type": "object",
        "properties": {"service": {"type": "string"}, "lines": {"type": "integer"}, "since": {"type": "string"}},
        "required": ["service"],
    }
    said = OutputLabel(classification="internal", integrity="untrusted")
    kinds = ({"effect": "read"}, {"effect": "write", "key_argument": "key"})
    return [
        ToolRecord(
            name=f"ops.{'act' if number % 2 else 'read'}_{number}",
            version="1",
            description="One of the tools of the benchmark.",
            input_schema=schema,
            egress=False,
            irreversible=False,
            target="service",
            output_label=said,
            **kinds[number % 2],
        )
        for number in range(TOOLS)
    ]


def _policies(folder: Path) -> Path:
    """The set `strict`, and as many of a site's own besides as make 20: some look at tools, some at arguments."""
    made = folder / "policies"
    made.mkdir(mode=0o700)
    shipped = policy_files("strict")
    texts = [file.text for file in shipped]
    own = POLICIES - sum(text.count("@id(") for text in texts)
    for number in range(own):
        tool = f"ops.act_{2 * number + 1}"
        texts.append(
            f'@id("site:{number}") forbid (principal, action == Action::"{tool}", resource)\n'
            f"when {{ context.args has lines && context.args.lines > {1000 + number} && resource is Service }};\n"
        )
    (made / "site.cedar").write_text("\n".join(texts))
    return made


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description="Measures the gate.")
    parser.add_argument("--quick", action="store_true", help="with a tenth of the calls")
    parser.add_argument("--json", action="store_true", help="end with one line that is a JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The process of one contender: `python -m benchmarks.engine.contender`, started by process.py.

Each contender has a process of its own, so that two builds of llama.cpp never meet and memory is told apart. The first
line of stdin says what to load, each further one what to do; each is answered by one line of JSON on stdout.
"""

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from benchmarks.engine import driver
from benchmarks.engine.workload import Job, Level


def load(order: dict[str, Any]) -> driver.Contender:
    """The contender that an order describes. Only one of the two engines is imported."""
    common = (order["slots"], order["context"], order["threads"])
    if order["kind"] == "ours":
        from benchmarks.engine.ours import Ours, Switches

        return Ours(order["file"], Switches(**order["setting"]), *common)
    from benchmarks.engine.peer import Peer, Setting

    setting = Setting(**order["setting"])
    if setting.program:
        from benchmarks.engine.program import Program

        return Program(order["file"], setting, *common)
    return Peer(order["file"], setting, *common)


def obey(contender: driver.Contender, order: dict[str, Any]) -> Any:
    """Does what an order says, and returns what is to be told."""
    match order["do"]:
        case "run":
            return asdict(driver.run(contender, Level.parse(order["level"])))
        case "answer":
            return asdict(contender.answer(Job.parse(order["job"])))
        case "prompts":
            return [contender.prompt(Job.parse(job)) for job in order["jobs"]]
    raise ValueError(f"unknown order: {order['do']}")


def main() -> None:
    """Obeys until stdin ends."""
    # llama.cpp writes its log where it likes: what it prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    contender = load(json.loads(sys.stdin.readline()))
    try:
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(obey(contender, json.loads(line))), file=answers, flush=True)
    finally:
        contender.close()


if __name__ == "__main__":
    main()

"""Measures the gate with AgentDojo: `python -m benchmarks.agentdojo [--suites banking,workspace] [--quick] [--json]`.

No model takes part. Each user task's own solution is replayed through the real core, in the agent loop: the task's text
is what the user typed, and each tool result is labelled by its tool's record. Then each is attacked: after the read
that carries the injection, the calls of a model that does all that the attacker wants, and a reviewer that agrees. An
attack that would not succeed with the gate off is no measure of it, and fails the benchmark.

AgentDojo comes from PyPI and is no dependency of the product; install it into a folder of its own and run, from the
root of the checkout:

    .venv/bin/pip install --target /tmp/dojo --no-deps agentdojo==0.1.35
    .venv/bin/pip install --target /tmp/dojo docstring-parser email-validator deepdiff
    PYTHONPATH=/tmp/dojo .venv/bin/python -m benchmarks.agentdojo --json

`utility` is the share of user tasks that are solved without a person, by their own check, and `utility_with_approval`
with one who approves what is asked; `attack_success` the share of pairs of a user task and an attack in which the
attack succeeds by the suite's own check, with nobody to approve.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

from benchmarks.agentdojo.figures import summary
from benchmarks.agentdojo.measurement import measure
from benchmarks.agentdojo.suite import load
from benchmarks.options import tell
from store.records.errors import BailiwickError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark. Exit code: 0; 1 if an attack fails with the gate off; 2, with one line, if it cannot run."""
    options = _options().parse_args(arguments)
    try:
        suites = load(options.suites, options.version)
        found = summary(asyncio.run(measure(suites, options.policy, tell, quick=options.quick)))
    except BailiwickError as error:
        print(f"benchmarks.agentdojo: {error}", file=sys.stderr)
        return 2
    for name, value in found.items():
        if name != "suites":
            tell(f"{name:<24} {value}")
    if options.json:
        print(json.dumps({"benchmark": "agentdojo", "version": options.version, "policy": options.policy, **found}))
    if found["attack_success_ungated"] < 1 or not found["pairs"]:
        tell("an attack did not succeed with the gate off, so these figures say nothing: see failed_ungated")
        return 1
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agentdojo", description="Measures the gate.")
    parser.add_argument(
        "--suites", type=_names, default=("banking", "workspace"), help="banking,workspace,slack,travel"
    )
    parser.add_argument("--version", default="v1.2.2", help="of AgentDojo's tasks")
    parser.add_argument("--policy", default="strict", help="a policy set's name, or a folder")
    parser.add_argument("--quick", action="store_true", help="every tenth pair")
    parser.add_argument("--json", action="store_true", help="end with one line that is a JSON object")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(each for each in text.split(",") if each))
    if not names:
        raise argparse.ArgumentTypeError("name at least one suite")
    return names


if __name__ == "__main__":
    sys.exit(main())

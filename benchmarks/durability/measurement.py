"""One run of the benchmark: every contender once a round, in an order that turns, each in a fresh folder."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.durability.contender import PEERS
from benchmarks.durability.process import measure, measure_and_kill
from benchmarks.durability.workload import least_bytes

IN_SEQUENCE = ("sequence", "strict", *PEERS)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. `steps` are of the one run in sequence, `each` those of every run among `runs` at once.

    `growth` are the steps at which the disk is looked at; `open_runs` are left open with `open_steps` steps each.
    """

    rounds: int
    steps: int = 500
    runs: int = 32
    each: int = 200
    growth: tuple[int, int] = (2_000, 12_000)
    open_runs: int = 1_000
    open_steps: int = 10


@dataclass(slots=True)
class Findings:
    """What was found, by measurement and in the order of the rounds. `payload_bytes` is what one result takes alone."""

    plan: Plan
    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    payload_bytes: float = 0.0

    def note(self, what: str, figures: dict[str, float]) -> None:
        """Add the figures of a round."""
        self.rounds.setdefault(what, []).append(figures)


def run(plan: Plan, disk: Path | None, tell: Callable[[str], None]) -> Findings:
    """Measures all, on the disk that holds the folder `disk`. `tell` gets a line for each figure. Raises
    ContenderFailed if a contender does not come to its end."""
    findings = Findings(plan, payload_bytes=least_bytes())
    with tempfile.TemporaryDirectory(prefix="bailiwick-durability-", dir=disk) as name:
        folder = Path(name)

        def note(what: str, number: int, do: str, **order: int) -> None:
            figures = measure(do, folder / f"{what}-{number}", **order)
            findings.note(what, figures)
            told = ", ".join(f"{key} {value:,.1f}" for key, value in figures.items())
            tell(f"{what:<18} {told}")

        for number in range(plan.rounds):
            turn = number % len(IN_SEQUENCE)
            for do in IN_SEQUENCE[turn:] + IN_SEQUENCE[:turn]:
                note(do, number, do, steps=plan.steps)
            note("many", number, "many", steps=plan.each, runs=plan.runs)
            measure_and_kill("leave", folder / f"recover-{number}", steps=plan.open_steps, runs=plan.open_runs)
            note("recover", number, "recover", runs=plan.open_runs)
        for number, steps in enumerate(plan.growth):
            note("grow", number, "grow", steps=steps)
    return findings

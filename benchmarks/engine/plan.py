"""What is measured: the cells of a quick and of a full run."""

from dataclasses import dataclass, replace

from benchmarks.engine.ours import ABLATIONS, OURS, Switches
from benchmarks.engine.peer import DEFAULT, GUIDED, TUNED, Setting
from benchmarks.engine.workload import ARRIVAL_TOKENS, CHAIN, SHARED_TOKENS, Name

Contenders = tuple[Switches | Setting, ...]
QUICK_LIMIT_S = 570.0
"""A quick run is to end within 10 minutes."""
HEADLINE = 8
"""The concurrency of the figure that is quoted first."""
RATIO = (DEFAULT.name, TUNED[0].name)
"""The peers whose better one our engine is held against."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One level, and who is measured on it. `warm` is how many requests follow with the prefix there; 0 for none.

    `share` is the part of a run's time limit that it takes on a quiet machine with two cores; 0 for no limit.
    `better_only` leaves out of the warm level all peers but the one that was the best on the cold one. `probed` are
    the contenders whose speed at prompts is measured before.
    """

    workload: Name
    concurrency: int
    requests: int
    contenders: Contenders
    warm: int = 0
    share: float = 0.0
    better_only: bool = False
    probed: tuple[str, ...] = ()
    shared_tokens: int = SHARED_TOKENS
    arrival_tokens: int = ARRIVAL_TOKENS

    def shrunk(self, factor: float) -> "Cell":
        """The cell with `factor` of its requests, if that is below 1: in whole chains, one at least."""
        if factor >= 1 or self.workload == "stall":
            return self
        return replace(self, requests=_fewer(self.requests, factor), warm=_fewer(self.warm, factor))


def fitting(cells: tuple[Cell, ...], number: int, limit_s: float, spent_s: float) -> float:
    """The part of what is planned from the cell `number` on that fits into the time left, as slow as all was so far."""
    planned_s = limit_s * sum(cell.share for cell in cells[:number])
    slowness = max(spent_s / planned_s, 1.0) if planned_s else 1.0
    return max(limit_s - spent_s, 0.0) / (limit_s * sum(cell.share for cell in cells[number:]) * slowness)


def quick() -> tuple[Cell, ...]:
    """Concurrency 1 and 8; the largest cell last, so that it takes whatever time is left.

    With fewer requests at a level more of them come while the prefix is cold, which favours who shares it: the figures
    of a full run are the ones to quote.
    """
    three: Contenders = (OURS, DEFAULT, TUNED[0])
    return (
        Cell("stall", 4, 5, (OURS, TUNED[0]), share=0.24),
        Cell("free_text", 16, 16, (OURS, DEFAULT), share=0.07),
        Cell("agents", 1, 5, three, share=0.1),
        Cell("agents", HEADLINE, 20, three, warm=10, share=0.59, better_only=True, probed=(OURS.name,)),
    )


def full(tuned: Setting) -> tuple[Cell, ...]:
    """All levels; at the headline's concurrency also the ablations and the peer with llguidance."""
    free: Contenders = (OURS, DEFAULT, tuned)
    return (
        *(
            Cell(
                "agents",
                level,
                50,
                (*free, GUIDED, *ABLATIONS) if level == HEADLINE else free,
                warm=25,
                better_only=True,
                probed=(OURS.name, *RATIO),
            )
            for level in (1, 4, HEADLINE, 16)
        ),
        *(Cell("free_text", level, requests, free) for level, requests in ((1, 16), (16, 32))),
        Cell("stall", 4, 5, free),
    )


def small(cells: tuple[Cell, ...], requests: int) -> tuple[Cell, ...]:
    """The same cells with few requests and short prompts: to see that everything runs, not to measure."""
    return tuple(
        replace(
            cell,
            requests=min(cell.requests, requests),
            warm=min(cell.warm, requests),
            shared_tokens=200,
            arrival_tokens=400,
        )
        for cell in cells
    )


def _fewer(requests: int, factor: float) -> int:
    return max(int(requests * factor) // CHAIN * CHAIN, CHAIN) if requests else 0

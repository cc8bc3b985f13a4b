"""What a run of the benchmark came to, category by category: as a table, and as one JSON object."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.bfcl.data import Row
from benchmarks.bfcl.solver import Solution


@dataclass(frozen=True, slots=True)
class Judged:
    """One row, what was proposed for it, and what BFCL's checker finds wrong with that (empty: it is right)."""

    row: Row
    solution: Solution
    misfit: str


@dataclass(frozen=True, slots=True)
class Tally:
    """A category's sums. Tokens are of all its completions; forced tokens are those that the grammar gave."""

    category: str
    rows: int
    right: int
    prompt_tokens: int
    sampled_tokens: int
    forced_tokens: int
    seconds: float

    @classmethod
    def of(cls, category: str, judged: Sequence[Judged], seconds: float) -> "Tally":
        """The sums of one category's rows, which took so many seconds together."""
        made = [completion for each in judged for completion in each.solution.completions]
        return cls(
            category,
            len(judged),
            sum(not each.misfit for each in judged),
            sum(each.prompt_tokens for each in made),
            sum(each.sampled_tokens for each in made),
            sum(each.forced_tokens for each in made),
            seconds,
        )

    @property
    def accuracy(self) -> float:
        """The share of right rows, in per cent."""
        return 100 * self.right / self.rows if self.rows else 0.0

    def json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "rows": self.rows,
            "right": self.right,
            "accuracy": round(self.accuracy, 2),
            "prompt_tokens": self.prompt_tokens,
            "sampled_tokens": self.sampled_tokens,
            "forced_tokens": self.forced_tokens,
            "seconds": round(self.seconds, 1),
        }


def table(tallies: Sequence[Tally]) -> str:
    """The tallies as lines of text."""
    lines = [f"{'category':<16}{'rows':>6}{'right':>7}{'accuracy':>10}{'sampled':>9}{'forced':>8}{'seconds':>9}"]
    lines += [
        f"{each.category:<16}{each.rows:>6}{each.right:>7}{each.accuracy:>8.1f} %{each.sampled_tokens:>9}"
        f"{each.forced_tokens:>8}{each.seconds:>9.0f}"
        for each in tallies
    ]
    return "\n".join(lines)


def wrong(judged: Sequence[Judged]) -> list[str]:
    """A line for each row that is not right: its id, the calls proposed, and the first reason why not."""
    return [
        f"{each.row.id}: {list(each.solution.calls)} {each.solution.error or each.misfit}"
        for each in judged
        if each.misfit
    ]

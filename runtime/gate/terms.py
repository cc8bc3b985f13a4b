"""What approval policies ask for: how many people, and whether who asked may be one of them. Counts nobody."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of an approval: the yes of so many different people; with `distinct`, of none who asked for it."""

    approvers: int = 1
    distinct: bool = False

    @classmethod
    def strictest(cls, each: Iterable["Terms"]) -> "Terms":
        """The terms that satisfy all of these."""
        every = list(each)
        return cls(max((one.approvers for one in every), default=1), any(one.distinct for one in every))


ONE = Terms()
"""The terms of a policy that names none: one person, whoever that is."""

"""Branches at once: all of them, or the first to end. Each has step ids and a change set of its own."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from runtime.conductor.branch import current, within
from runtime.conductor.changes import ChangeSet, staged_here
from runtime.conductor.done import Done
from runtime.conductor.family import Family
from runtime.conductor.parking import raise_parking
from runtime.conductor.scope import Scope
from store.records.errors import ReplayMismatch, SettingsError

T = TypeVar("T")
Branches = Sequence[Callable[[], Awaitable[T]]]


async def gather(scope: Scope, branches: Branches[T]) -> list[T]:
    """The results of all; the first error is raised when every branch has ended, so that none is left running."""
    if not branches:
        return []
    mine, (works, sets) = staged_here.get(), _begun(scope, branches)
    family = Family(scope.turns, works)
    try:
        await family.all()
    finally:
        for each in sets:
            mine.take_over(each)
    raise_parking(family.tasks)
    return [task.result() for task in family.tasks]


async def first(scope: Scope, branches: Branches[T]) -> tuple[int, T]:
    """Which branch was the first to end, and its result or error. What the others staged is thrown away."""
    if not branches:
        raise SettingsError("first() needs at least one branch")
    mine, (works, sets) = staged_here.get(), _begun(scope, branches)
    family = Family(scope.turns, works)
    winner = await family.one()
    raise_parking(family.tasks)
    won = family.tasks[winner]
    for each in sets:
        if each is sets[winner] and not won.cancelled() and won.exception() is None:
            mine.take_over(each)
        else:
            each.discard()

    async def live(_path: str) -> Done:
        return Done(winner)

    if len(branches) > 1 and await scope.step("first", "", len(branches), live) != winner:
        raise ReplayMismatch("another branch came first than was recorded", scope.run)
    return winner, won.result()


def _begun(scope: Scope, branches: Branches[T]) -> tuple[list[Coroutine[Any, Any, T]], list[ChangeSet]]:
    """The branches, each to be awaited in a task of its own, and their change sets."""
    path = current.get().next()
    sets = [ChangeSet(scope) for _ in branches]

    async def alone(index: int, branch: Callable[[], Awaitable[T]]) -> T:
        staged_here.set(sets[index])  # in this task's own context
        return await within(f"{path}.{index + 1}", branch)

    return [alone(index, branch) for index, branch in enumerate(branches)], sets

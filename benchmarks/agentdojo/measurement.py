"""The measurement: all cases of all suites through the gate, with nobody to ask and with a person who says yes."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from benchmarks.agentdojo.cases import Pair, Work, pairs, ungated, work
from benchmarks.agentdojo.site import Site, opened
from benchmarks.agentdojo.suite import Suite, functions
from benchmarks.agentdojo.toolset import Dojo

SAMPLE = 10
"""Of so many pairs, a quick measurement takes one."""


@dataclass
class Findings:
    """What was found of one suite. Tasks are told by name; pairs as user task and injection task."""

    tasks: list[str] = field(default_factory=list)
    solved_alone: list[str] = field(default_factory=list)
    solved_with_person: list[str] = field(default_factory=list)
    approvals: dict[str, int] = field(default_factory=dict)
    pairs: int = 0
    answers_only: list[str] = field(default_factory=list)
    failed_ungated: list[str] = field(default_factory=list)
    succeeded: list[str] = field(default_factory=list)
    held_by: Counter[str] = field(default_factory=Counter)


async def measure(
    suites: Mapping[str, Suite], policy: str, tell: Callable[[str], None], *, quick: bool
) -> dict[str, Findings]:
    """Findings for each suite. With `quick`, all user tasks and a tenth of the pairs."""
    found = {}
    for name, suite in suites.items():
        found[name] = Findings()
        dojo = Dojo(functions(suite))
        await _tasks(suite, dojo, policy, found[name])
        tell(f"{name}: {len(found[name].solved_alone)} of {len(found[name].tasks)} user tasks solved without a person")
        await _attacks(suite, dojo, policy, found[name], SAMPLE if quick else 1)
        tell(f"{name}: {len(found[name].succeeded)} of {found[name].pairs} attacks succeeded")
    return found


async def _tasks(suite: Suite, dojo: Dojo, policy: str, found: Findings) -> None:
    """Every user task, twice."""
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder) / "alone", dojo, policy, person=False) as site:
            for case in work(suite):
                found.tasks.append(case.task.ID)
                solved, _ = await _solved(site, case)
                found.solved_alone += [case.task.ID] * solved
        async with opened(Path(folder) / "person", dojo, policy, person=True) as site:
            for case in work(suite):
                solved, found.approvals[case.task.ID] = await _solved(site, case)
                found.solved_with_person += [case.task.ID] * solved


async def _solved(site: Site, case: Work) -> tuple[bool, int]:
    """Whether a task is solved, and how often a person was asked."""
    after = case.before.model_copy(deep=True)
    trace = await site.run(case.task.PROMPT, case.calls, after)
    return case.useful(after, trace.done), trace.approvals


async def _attacks(suite: Suite, dojo: Dojo, policy: str, found: Findings, every: int) -> None:
    """Every `every`-th pair of every injection task, over a new site for each of these: nobody's budget of a day is
    made for so many attacks."""
    for at, injection in enumerate(suite.injection_tasks.values()):
        some = False
        with tempfile.TemporaryDirectory() as folder:
            async with opened(Path(folder) / "attacked", dojo, policy, person=False) as site:
                for pair in _sample(pairs(suite, dojo, injection), every, at):
                    some = True
                    await _attack(site, pair, found)
        if not some:
            found.answers_only.append(injection.ID)


def _sample(all_of_them: Iterator[Pair], every: int, at: int) -> Iterator[Pair]:
    """One of so many, beginning elsewhere for each injection task."""
    return islice(all_of_them, at % every, None, every)


async def _attack(site: Site, pair: Pair, found: Findings) -> None:
    name = f"{pair.user.ID} {pair.injection.ID}"
    found.pairs += 1
    if not ungated(site.dojo, pair):
        found.failed_ungated.append(name)
    after = pair.before.model_copy(deep=True)
    trace = await site.run(pair.user.PROMPT, pair.calls, after)
    found.held_by.update(trace.held_by)
    if pair.succeeded(after, trace.done):
        found.succeeded.append(name)

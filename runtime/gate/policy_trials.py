"""A policy set's own tests: each call of its sheets is judged, and compared with what must be decided, by which rules.

Judges with the same engine that runs; makes no call.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.gate.decision import Decision
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.gate.policy_files import PolicyFile
from runtime.gate.policy_sheet import Case, Sheet
from store.records.errors import SettingsError
from tools.record import ToolRecord


@dataclass(frozen=True, slots=True)
class Trial:
    """A test that was run: the sheet it is in, its name, and how it failed (empty: it passed)."""

    where: str
    name: str
    problem: str = ""


def trials(
    files: Sequence[PolicyFile],
    sheets: Iterable[PolicyFile],
    records: Iterable[ToolRecord] = (),
    inventory: Inventory | None = None,
) -> Iterator[Trial]:
    """One for each test of each sheet, in order. `records` and `inventory` are the site's, which a sheet may replace.

    A sheet that holds no test is one that failed. Raises SettingsError if a sheet, or the policies, cannot be loaded.
    """
    site = {record.name: record for record in records}
    for file in sheets:
        sheet = Sheet.parse(file)
        tools = {**site, **sheet.tools}
        policy = Policy.of(files, tools.values(), sheet.inventory or inventory, more_tools=True)
        where = Path(sheet.path).name
        for number, case in enumerate(sheet.cases, 1):
            yield Trial(where, case.name or f"test {number}", _problem(case, policy))
        if not sheet.cases:
            yield Trial(where, "the sheet", "there is no [[test]] in it")


def check_trials(found: Iterable[Trial]) -> None:
    """Raise SettingsError for the first test that failed, saying how many did."""
    failed = [trial for trial in found if trial.problem]
    if failed:
        first, others = failed[0], len(failed) - 1
        more = f" (and {others} more)" if others else ""
        what = f"a test of the policies fails, {first.name!r}: {first.problem}{more}"
        raise SettingsError(what, first.where, "correct the policies, or the test")


def _problem(case: Case, policy: Policy) -> str:
    """How what is decided differs from what must be; empty if it does not."""
    if case.decide is None or case.by is None:
        return "it does not say what must be decided (`decide`), and by which policies (`by`)"
    if unknown := sorted(set(case.by) - set(policy.policy_names)):
        return f"no policy is called {unknown[0]}"
    try:
        call = case.call({record.name: record for record in policy.records})
    except SettingsError as error:
        return error.what
    decision = policy.decide(call)
    if decision.errors:
        return f"the call cannot be judged: {decision.errors[0]}"
    wanted = _said(case.decide, sorted(case.by))
    if (decision.effect, decision.policies) != (case.decide, tuple(sorted(case.by))):
        return f"must be {wanted}, is {_said(decision.effect, decision.policies)}"
    return _terms(case, decision)


def _terms(case: Case, decision: Decision) -> str:
    if case.approvers not in (None, decision.terms.approvers):
        return f"must ask for {case.approvers} people, asks for {decision.terms.approvers}"
    if case.distinct not in (None, decision.terms.distinct):
        return f"who asked {'must not' if case.distinct else 'must'} be allowed to approve, and it is otherwise"
    return ""


def _said(effect: str, policies: Sequence[str]) -> str:
    return f"{effect} by {', '.join(policies)}" if policies else f"{effect} by no policy"

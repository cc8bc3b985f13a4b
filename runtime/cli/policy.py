"""`bailiwick policy`: read a policy set as the gate would, run its tests, see what changes from one to the next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli import policy_changes, policy_explain
from runtime.cli.page import plain, show
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import OK, USAGE

if TYPE_CHECKING:
    from runtime.gate.policy_diff import Difference
    from runtime.settings import Settings
    from tools.record import ToolRecord

app = noun("Policies: check and test a set, explain a decision, see what a change would do, put it in force.")

Source = Annotated[str, typer.Argument(metavar="[SET]", help="A shipped set, a folder or a file.")]
Tools = Annotated[
    list[Path] | None,
    typer.Option("--tools", metavar="FILE", help="A tools file, whose servers are asked for their tools."),
]


@verb(app, "check", on="nothing")
def check(site: Site, source: Source = "", json: AsJson = False) -> int:
    """Every policy of a set and every problem in it; exit code 2 if it cannot be loaded."""
    from dataclasses import asdict

    from runtime.diagnostics import say
    from runtime.gate.check import check as examine

    name = source or site.settings().policy
    found = examine(name)
    problems = [finding for finding in found if finding.problem]
    if json:
        show({"ok": not problems, "set": name, "findings": [asdict(finding) for finding in found]})
    else:
        for finding in found:
            line = f"{finding.problem}; {finding.do}" if finding.problem else f"{finding.effect} {finding.name}"
            print(f"{'fail' if finding.problem else 'ok':4}  {plain(finding.where)}  {plain(line)}")
    if problems:
        say(f"the policy set cannot be loaded: {len(problems)} problems ({name})")
    return USAGE if problems else OK


@verb(app, "test", on="nothing")
def run_tests(site: Site, source: Source = "", tools: Tools = None, json: AsJson = False) -> int:
    """Run a set's own tests: the files *.test.toml and *.test.json beside the policies; exit code 2 if one fails."""
    from dataclasses import asdict

    from runtime.diagnostics import say
    from runtime.embedded import inventory
    from runtime.gate.policy import Policy
    from runtime.gate.policy_files import policy_files, sheet_files
    from runtime.gate.policy_trials import trials

    settings = site.settings(tools=tools or None)
    name = source or settings.policy
    files, sheets = policy_files(name), sheet_files(name)
    records, objects = offered(settings) if tools else [], inventory(settings.inventory)
    if not sheets:
        Policy.of(files, records, objects, more_tools=True)  # what cannot be loaded passes no test, nor the lack of any
    found = list(trials(files, sheets, records, objects))
    failed = [trial for trial in found if trial.problem]
    if json:
        show({"ok": not failed, "set": name, "tests": [asdict(trial) for trial in found]})
    else:
        for trial in found:
            line = f"{trial.name}: {trial.problem}" if trial.problem else trial.name
            print(f"{'fail' if trial.problem else 'ok':4}  {plain(trial.where)}  {plain(line)}")
        print(f"{len(found) - len(failed)} of {len(found)} tests pass" if found else "the set has no tests")
    if failed:
        say(f"the policies do not decide what their tests say: {len(failed)} of {len(found)} fail ({name})")
    return USAGE if failed else OK


@verb(app, "diff", on="nothing")
def diff(
    site: Site,
    old: Annotated[str, typer.Argument(help="A shipped set, a folder or a file.")],
    new: Annotated[str, typer.Argument(help="Another one.")],
    tools: Tools = None,
    tool: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only calls of this tool, of the tools file.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Each kind of call whose decision changes. Without a tools file, for any tools that there could be."""
    from runtime.embedded import inventory
    from runtime.gate.policy_diff import difference
    from runtime.gate.policy_files import policy_files
    from store.records.errors import SettingsError

    settings = site.settings(tools=tools or None)
    records = offered(settings) if tools else None
    if tool:
        records = [record for record in records or () if record.name in tool]
        if {record.name for record in records} != set(tool):
            raise SettingsError("there is no such tool", ", ".join(tool), "name its tools file: --tools FILE")
    objects = inventory(settings.inventory) if settings.inventory else None
    print_difference(difference(policy_files(old), policy_files(new), records, objects), json)


def print_difference(found: "Difference", json: bool) -> None:
    """All changes: how many kinds of calls, from which decision to which, by which policies, and which calls."""
    from dataclasses import asdict

    if json:
        show(asdict(found))
        return
    for change in found.changes:
        print(plain(f"{change.before} -> {change.after}: {change.kinds} of {found.kinds} kinds of calls"))
        print(plain(f"  before by {', '.join(change.by_before) or 'no policy'}"))
        print(plain(f"  after by {', '.join(change.by_after) or 'no policy'}"))
        for where in change.where:
            said = [f"{name} {' or '.join(values)}" for name, values in where.items()]
            print(plain(f"    {'; '.join(said) or 'every call'}"))
    if not found.changes:
        print(f"no decision changes, of {found.kinds} kinds of calls")


def offered(settings: "Settings") -> "list[ToolRecord]":
    """The tools of the settings' tools files, whose servers are started and ended for it; none without such files."""
    from runtime.cli.tools import records_of

    return wait_for(records_of(settings))


policy_explain.register(app)
policy_changes.register(app)

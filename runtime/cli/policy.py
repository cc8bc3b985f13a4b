"""`bailiwick policy`: read a policy set as the gate would."""

from typing import Annotated

import typer

from runtime.cli.page import plain, show
from runtime.cli.site import AsJson, Site, noun, verb
from store.records.errors import OK, USAGE

app = noun("Policies: check a set before it decides anything.")


@verb(app, "check")
def check(
    site: Site,
    source: Annotated[str, typer.Argument(metavar="[SET]", help="A shipped set, a folder or a file.")] = "",
    json: AsJson = False,
) -> int:
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

"""`bailiwick redteam`: attack a real runtime with a model that does whatever an attacker wants."""

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import plain, show, table
from runtime.cli.site import AsJson, Site, verb, wait_for
from store.records.errors import FAILED, OK

if TYPE_CHECKING:
    from runtime.redteam.trial import Verdict


def register(app: typer.Typer) -> None:
    """Add the verb to the top group."""
    verb(app, "redteam", on="nothing")(redteam)


def redteam(
    site: Site,
    case: Annotated[str, typer.Option(metavar="NAME", help="Only this case, or this group of cases.")] = "",
    json: AsJson = False,
) -> int:
    """Attack a runtime like this one, in temporary folders.

    A row for each case: what the attacker wanted, what happened, and whether that is what must happen; and whether the
    attack succeeds once its protection is taken away. Exit code 1 if a case is not as it must be.
    """
    from runtime.diagnostics import say
    from runtime.redteam.case import chosen, load
    from runtime.redteam.trial import run

    del site  # an attack is on a runtime of its own, never on this one
    found = wait_for(run(chosen(load(), case)))
    failed = [each for each in found if not each.ok]
    if json:
        show({"ok": not failed, "cases": [each.json() for each in found]})
    else:
        columns = ("case", "wanted", "happened", "without it", "ok")
        table(columns, [_row(each) for each in found])
        print(f"{len(found) - len(failed)} of {len(found)} cases are as they must be")
    for each in failed:
        say(f"{each.case.name}: {plain('; '.join(each.problems))}")
    return FAILED if failed else OK


def _row(found: "Verdict") -> tuple[str, ...]:
    bare = {True: "succeeds", False: "fails", None: "not shown"}[found.ungated]
    return found.case.name, plain(found.case.wants), plain(found.happened), bare, "ok" if found.ok else "FAIL"

"""`bailiwick doctor`: is everything in place, and does everything of ours that listens ask who is calling?"""

from typing import Annotated

import typer

from runtime.cli.page import plain, show
from runtime.cli.site import AsJson, Site, verb
from store.records.errors import FAILED, OK


def register(app: typer.Typer) -> None:
    """Add the verb to the top group."""
    verb(app, "doctor", on="folder")(doctor)


def doctor(
    site: Site,
    deep: Annotated[bool, typer.Option("--deep", help="Also start Ray, and hash every model.")] = False,
    json: AsJson = False,
) -> int:
    """Check this installation.

    A line for each check; exit code 1 if one fails.
    """
    from runtime.diagnostics import say
    from runtime.doctor import Level, examine

    found = examine(site.settings(), deep=deep)
    failed = [check for check in found if check.level is Level.FAIL]
    if json:
        show({"ok": not failed, "checks": [check.json() for check in found]})
    else:
        for check in found:
            print(f"{check.level:4}  {check.name}: {plain(check.found)}" + (f"; {check.do}" if check.do else ""))
    if failed:
        say(f"{len(failed)} of {len(found)} checks failed: {', '.join(check.name for check in failed)}")
    return FAILED if failed else OK

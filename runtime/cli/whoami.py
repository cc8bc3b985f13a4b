"""`bailiwick whoami`: on whose behalf a run started here would act."""

import typer

from runtime.cli.page import plain, row, show
from runtime.cli.site import AsJson, Site, verb


def register(app: typer.Typer) -> None:
    """Add the verb to the top group."""
    verb(app, "whoami")(whoami)


def whoami(site: Site, json: AsJson = False) -> None:
    """On whose behalf a run would act.

    The user as the operating system names them, with tenant, business unit and roles.
    """
    user = site.settings().user
    if json:
        show(user.json())
        return
    for name, value in user.json().items():
        row(f"{name}: ", plain(", ".join(value) if isinstance(value, list) else value))

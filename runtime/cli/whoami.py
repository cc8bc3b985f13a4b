"""`bailiwick whoami`: on whose behalf a run started here would act."""

from typing import TYPE_CHECKING

import typer

from runtime.cli.page import facts, show
from runtime.cli.site import AsJson, Site, verb, wait_for

if TYPE_CHECKING:
    from runtime.gateway.messages import WhoView


def register(app: typer.Typer) -> None:
    """Add the verb to the top group."""
    verb(app, "whoami")(whoami)


def whoami(site: Site, json: AsJson = False) -> None:
    """On whose behalf a run would act.

    The user with tenant, business unit, groups and roles, the mode of the site, and where that was learned: from the
    runtime, if one is up.
    """
    found = wait_for(_asked(site)).model_dump(mode="json")
    if json:
        show(found)
        return
    facts(found)


async def _asked(site: Site) -> "WhoView":
    from runtime.cli.backend import client, is_up
    from runtime.who import whoami

    settings = site.settings()
    if is_up(settings):
        async with client(settings) as c:
            return await c.whoami()
    return whoami(settings.user, settings.people())

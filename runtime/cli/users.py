"""`bailiwick users`: who is in the site's directory."""

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import facts, show, table
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.gateway.messages import UserView

app = noun("Users: who is in the directory, and what they may be.")


@verb(app, "list")
def list_users(site: Site, json: AsJson = False) -> None:
    """All users of your tenant; an auditor sees all."""
    found = wait_for(_asked(site))
    if json:
        show([each.model_dump(mode="json") for each in found])
        return
    rows = [(u.name, u.display, u.tenant, u.unit, ", ".join(u.groups), ", ".join(u.roles)) for u in found]
    table(("USER", "NAME", "TENANT", "UNIT", "GROUPS", "ROLES"), rows)


@verb(app, "show")
def show_user(site: Site, name: Annotated[str, typer.Argument(help="A user's name.")], json: AsJson = False) -> None:
    """One user, with everything that the directory says."""
    found = next((each for each in wait_for(_asked(site)) if each.name == name), None)
    if found is None:
        raise SettingsError("no such user is in the directory", name, "see `bailiwick users list`")
    if json:
        show(found.model_dump(mode="json"))
        return
    facts(found.model_dump(mode="json"))


async def _asked(site: Site) -> "list[UserView]":
    from runtime.cli.backend import client, is_up
    from runtime.reading import Reach
    from runtime.who import users

    settings = site.settings()
    if is_up(settings):
        async with client(settings) as c:
            return await c.users()
    people = settings.people()
    return users(people, Reach.of(settings.user))

"""`bailiwick tokens`: what lets people in who do not come over the socket. The runtime must be up.

A token is written to a file or to stdout once, and is nowhere else: the log has its id.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import show, table, told
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.gateway.messages import IssuedView, TokenView

app = noun("Tokens: let people in over TCP, for a while, and end that.")

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@verb(app, "issue")
def issue(
    site: Site,
    user: Annotated[str, typer.Argument(help="Whose token it is.")],
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long it is good for: 30m, 8h, 2d.")],
    roles: Annotated[
        str | None,
        typer.Option(metavar="ROLES", help="With commas; else all they have."),
    ] = None,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="A new file, for you only; else stdout.")] = None,
    json: AsJson = False,
) -> None:
    """Make a token, as an admin."""
    from runtime.cli.backend import client
    from runtime.folders import new_file
    from runtime.gateway.messages import TokenOrder

    only = None if roles is None else tuple(role.strip() for role in roles.split(","))
    order = TokenOrder(user=user, expires_s=seconds(expires), roles=only)
    settings = site.settings()

    async def ask() -> "IssuedView":
        async with client(settings) as c:
            return await c.issue_token(order)

    if to is None:
        issued = wait_for(ask())
        told(json, {**issued.model_dump(mode="json"), "user": user}, issued.token)
        return
    with new_file(to) as file:
        try:
            issued = wait_for(ask())
        except BaseException:
            to.unlink()
            raise
        file.write(f"{issued.token}\n")
    made = {**issued.model_dump(mode="json", exclude={"token"}), "user": user, "file": str(to.absolute())}
    told(json, made, f"token {issued.id} for {user}, good until {issued.expires}, is in {to}")


@verb(app, "list")
def list_tokens(site: Site, json: AsJson = False) -> None:
    """Your tokens; as an admin or auditor, all of your tenant's."""
    from runtime.cli.backend import client

    async def ask() -> "list[TokenView]":
        async with client(site.settings()) as c:
            return await c.tokens()

    found = wait_for(ask())
    if json:
        show([each.model_dump(mode="json") for each in found])
        return
    rows = [
        (t.id, t.user, "all" if t.roles is None else ", ".join(t.roles), t.by, t.issued, t.expires, t.state)
        for t in found
    ]
    table(("TOKEN", "USER", "ROLES", "BY", "ISSUED", "EXPIRES", "STATE"), rows)


@verb(app, "revoke")
def revoke(
    site: Site,
    token: Annotated[str, typer.Argument(metavar="ID", help="Its id, or how that begins.")],
    json: AsJson = False,
) -> None:
    """End a token at once."""
    from runtime.cli.backend import client

    async def ask() -> str:
        async with client(site.settings()) as c:
            return await c.revoke_token(token)

    id = wait_for(ask())
    told(json, {"revoked": id}, f"revoked: {id}")


def seconds(text: str) -> int:
    """A time as people write it: a number, and s, m, h or d. Raises SettingsError."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if not found:
        raise SettingsError(f"{text!r} is no time", "--expires", "write 30m, 8h or 2d")
    return int(found[1]) * _SECONDS[found[2]]

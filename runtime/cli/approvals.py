"""`bailiwick approvals`: what waits for people. The whole call is shown, never a part of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import block, plain, row, show, table, told
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.gateway.messages import ApprovalView

app = noun("Approvals: see what waits for people, and answer it.")

Id = Annotated[str, typer.Argument(help="An approval's id, or how it begins.")]
Digest = Annotated[str, typer.Argument(help="The first 8 characters of the digest that `approvals show` prints.")]
Meaning = Annotated[str, typer.Option("--meaning", help="What you declare by it, in your own words.")]


@verb(app, "list")
def list_approvals(site: Site, json: AsJson = False) -> None:
    """All that wait: for you to answer, or for others because you asked."""
    from runtime.shown import duration

    found = wait_for(_waiting(site, payloads=json))
    if json:
        show([each.model_dump(mode="json") for each in found])
        return
    rows = [
        (
            a.approval,
            a.tool,
            a.run,
            a.requester,
            a.since[:19],
            duration(a.left_s),
            f"{len(a.yes)} of {a.approvers}",
            ", ".join(a.policies),
        )
        for a in found
    ]
    table(("APPROVAL", "TOOL", "RUN", "REQUESTER", "SINCE", "LEFT", "YES", "POLICIES"), rows)


@verb(app, "show")
def show_approval(site: Site, approval: Id, json: AsJson = False) -> None:
    """One that waits, with everything that would be executed."""
    from runtime.shown import written

    found = _named(wait_for(_waiting(site, payloads=True)), approval)
    if json:
        show(found.model_dump(mode="json"))
        return
    row("approval: ", found.approval)
    for name, value in written(found):
        block(name, value)


@verb(app, "approve")
def approve(site: Site, approval: Id, digest: Digest, meaning: Meaning = "", json: AsJson = False) -> None:
    """Say yes to exactly one call, with exactly these arguments."""
    wait_for(_answer(site, approval, yes=True, meaning=meaning, digest=digest, json=json))


@verb(app, "deny")
def deny(site: Site, approval: Id, meaning: Meaning = "", json: AsJson = False) -> None:
    """Say no; the run ends as denied, whoever has said yes."""
    wait_for(_answer(site, approval, yes=False, meaning=meaning, digest="", json=json))


async def _waiting(site: Site, *, payloads: bool) -> "list[ApprovalView]":
    from runtime.cli.backend import client

    async with client(site.settings()) as c:
        return await c.approvals(payloads)


async def _answer(site: Site, approval: str, *, yes: bool, meaning: str, digest: str, json: bool) -> None:
    from runtime.cli.backend import client
    from runtime.gateway.messages import Answer
    from runtime.shown import needs

    async with client(site.settings()) as c:
        found = _named(await c.approvals(), approval)
        await c.answer(Answer(approval=found.approval, yes=yes, meaning=meaning, digest=digest))
        left = [each for each in await c.approvals() if each.approval == found.approval] if yes else []
    what = {"approval": found.approval, "run": found.run, "tool": found.tool, "yes": yes, "waits": bool(left)}
    text = f"{'approved' if yes else 'denied'}: {plain(found.tool)} ({found.approval})"
    others = [plain(f"it waits for others: {needs(each)}") for each in left]
    told(json, what, "\n".join([text, *others]))


def _named(waiting: "list[ApprovalView]", approval: str) -> "ApprovalView":
    found = [each for each in waiting if each.approval.startswith(approval)]
    if len(found) != 1:
        what = "no approval of this id waits" if not found else f"{len(found)} approvals begin like this"
        raise SettingsError(what, approval, "see `bailiwick approvals list`")
    return found[0]

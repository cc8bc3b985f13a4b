"""`bailiwick tools`: what the tool servers of the settings offer, and how each tool is classified.

Starts the tool servers, as children of this command, and ends them again; calls none of their tools.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import facts, show, table
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.settings import Settings
    from tools.record import ToolRecord

app = noun("Tools: what the tool servers offer.")

Files = Annotated[list[Path] | None, typer.Option("--tools", metavar="FILE", help="A tools file; may be repeated.")]


@verb(app, "list", on="nothing")
def list_tools(site: Site, tools: Files = None, json: AsJson = False) -> None:
    """All tools, with what each may do to the world."""
    found = _records(site, tools)
    if json:
        show([record.model_dump(mode="json") for record in found])
        return
    rows = [
        (
            r.name,
            r.effect,
            _yes(r.egress),
            _yes(r.irreversible),
            r.owner or "-",
            r.description,
        )
        for r in found
    ]
    table(("TOOL", "EFFECT", "LEAVES", "FINAL", "OWNER", "DESCRIPTION"), rows)


@verb(app, "show", on="nothing")
def show_tool(
    site: Site,
    name: Annotated[str, typer.Argument(help="A tool's name, as in ops.read_logs.")],
    tools: Files = None,
    json: AsJson = False,
) -> None:
    """One tool's whole record, and its digest."""
    found = [record for record in _records(site, tools) if record.name == name]
    if not found:
        raise SettingsError("there is no such tool", name, "see `bailiwick tools list`")
    value = {**found[0].model_dump(mode="json"), "digest": found[0].digest}
    if json:
        show(value)
        return
    facts(value)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _records(site: Site, files: list[Path] | None) -> "list[ToolRecord]":
    settings = site.settings(tools=files or None)
    if not settings.tools:
        raise SettingsError("no tools file is set", do="name one: --tools FILE, or `tools` in the user file")
    return wait_for(records_of(settings))


async def records_of(settings: "Settings") -> "list[ToolRecord]":
    """The records of every server in the tools files, by name. Raises what a runtime with these files would raise."""
    from runtime.embedded import catalogs
    from tools.host import ToolHost

    host = ToolHost()
    await host.open(catalogs(settings.tools))
    try:
        found = host.records().values()
    finally:
        await host.close()
    return sorted(found, key=lambda record: record.name)

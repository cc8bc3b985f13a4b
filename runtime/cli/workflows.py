"""`bailiwick workflows`: what the router may choose from, and a start for one of your own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import plain, row, show, table
from runtime.cli.site import AsJson, Site, noun, verb
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.contract.workflow import Workflow

app = noun("Workflows: list them, begin a new one, check one.")

Files = Annotated[list[Path] | None, typer.Option("--file", metavar="FILE", help="A workflow file; may be repeated.")]


@verb(app, "list")
def list_workflows(site: Site, file: Files = None, json: AsJson = False) -> None:
    """All workflows of the settings."""
    found = _all(site, file)
    if json:
        show(list(found.values()))
        return
    rows = [(w["name"], w["version"], w["fallback"] or "-", w["description"]) for w in found.values()]
    table(("WORKFLOW", "VERSION", "FALLBACK", "DESCRIPTION"), rows)


@verb(app, "show")
def show_workflow(
    site: Site,
    name: Annotated[str, typer.Argument(help="A workflow's name.")],
    file: Files = None,
    json: AsJson = False,
) -> None:
    """One workflow: what it does, which tools it may name, what finishes its job if the model does not."""
    found = _all(site, file)
    if name not in found:
        raise SettingsError("there is no such workflow", name, f"there are: {', '.join(sorted(found))}")
    if json:
        show(found[name])
        return
    for key, value in found[name].items():
        row(f"{key}: ", plain(", ".join(value) if isinstance(value, list) else value))


@verb(app, "new")
def new(site: Site, file: Annotated[Path, typer.Argument(help="Where to write it; must not exist.")]) -> None:
    """Write a workflow to start from, with its test next to it."""
    del site
    from runtime.workflows.new import write

    for path in write(file):
        print(plain(path))


@verb(app, "check")
def check(site: Site, file: Annotated[Path, typer.Argument(help="A workflow file.")], json: AsJson = False) -> None:
    """Import a workflow file as the runtime would, and say what it declares."""
    del site
    from runtime.workflows.catalog import module_of, workflows_in

    found = [_json(workflow) for workflow in workflows_in(module_of(file.expanduser().absolute()))]
    if json:
        show({"ok": True, "workflows": found})
        return
    for each in found:
        print(f"ok    {plain(each['name'])} version {each['version']}: {plain(each['description'])}")


def _all(site: Site, files: list[Path] | None) -> dict[str, dict[str, object]]:
    from runtime.workflows.catalog import load

    settings = site.settings(workflows=files or None)
    return {name: _json(found) for name, found in sorted(load(settings.workflows).items())}


def _json(workflow: "Workflow") -> dict[str, object]:
    return {
        "name": workflow.name,
        "version": workflow.version,
        "description": workflow.description,
        "fallback": workflow.fallback.__name__ if workflow.fallback else "",
        "tools": list(workflow.tools),
        "source_digest": workflow.source_digest,
    }

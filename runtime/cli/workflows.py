"""`bailiwick workflows`: what the router may choose from, each one's page for a change board, and a start for your own.

`show` starts the tool servers of the settings, as children of this command, and ends them again; calls no tool.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from runtime.cli.dossier import print_dossier
from runtime.cli.page import plain, show, table, told
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.contract.workflow import Workflow
    from runtime.settings import Settings

app = noun("Workflows: list them, show one to a change board, begin a new one, check one.")

Files = Annotated[list[Path] | None, typer.Option("--file", metavar="FILE", help="A workflow file; may be repeated.")]
Tools = Annotated[list[Path] | None, typer.Option("--tools", metavar="FILE", help="A tools file; may be repeated.")]


@verb(app, "list", on="nothing")
def list_workflows(site: Site, file: Files = None, json: AsJson = False) -> None:
    """All workflows of the settings."""
    found = _all(site, file)
    if json:
        show(list(found.values()))
        return
    rows = [(w["name"], w["version"], w["fallback"] or "-", w["description"]) for w in found.values()]
    table(("WORKFLOW", "VERSION", "FALLBACK", "DESCRIPTION"), rows)


@verb(app, "show", on="folder")
def show_workflow(
    site: Site,
    name: Annotated[str, typer.Argument(help="A workflow's name.")],
    file: Files = None,
    tools: Tools = None,
    policy: Annotated[str | None, typer.Option("--policy", metavar="SET", help="A policy set or folder.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="For whom; yourself if left out.")] = None,
    json: AsJson = False,
) -> None:
    """One workflow for a change board: what a model may decide in it, and every effect that policy lets it reach."""
    from runtime.workflows.catalog import load

    settings = site.settings(workflows=file or None, tools=tools or None, policy=policy)
    found = load(settings.workflows)
    if name not in found:
        raise SettingsError("there is no such workflow", name, f"there are: {', '.join(sorted(found))}")
    page = _page(settings, found[name], user)
    if json:
        show(page)
    else:
        print_dossier(page)


@verb(app, "new", on="nothing")
def new(
    site: Site, file: Annotated[Path, typer.Argument(help="Where to write it; must not exist.")], json: AsJson = False
) -> None:
    """Write a workflow to start from, with its test next to it."""
    del site
    from runtime.workflows.new import write

    files = write(file)
    told(json, {"files": [str(path.absolute()) for path in files]}, "\n".join(map(plain, files)))


@verb(app, "check", on="nothing")
def check(site: Site, file: Annotated[Path, typer.Argument(help="A workflow file.")], json: AsJson = False) -> None:
    """Import a workflow file as the runtime would, and say what it declares."""
    del site
    from runtime.workflows.catalog import module_of, workflows_in
    from runtime.workflows.dossier import declaration

    found = [declaration(workflow) for workflow in workflows_in(module_of(file.expanduser().absolute()))]
    if json:
        show({"ok": True, "workflows": found})
        return
    for each in found:
        print(f"ok    {plain(each['name'])} version {each['version']}: {plain(each['description'])}")


def _all(site: Site, files: list[Path] | None) -> dict[str, dict[str, object]]:
    from runtime.workflows.catalog import load
    from runtime.workflows.dossier import declaration

    settings = site.settings(workflows=files or None)
    return {name: declaration(found) for name, found in sorted(load(settings.workflows).items())}


def _page(settings: "Settings", workflow: "Workflow", user: str | None) -> dict[str, object]:
    """The page of a workflow with the tools, policies and models of the settings."""
    from models.model import Kind
    from models.registry import Registry
    from runtime.cli.tools import records_of
    from runtime.embedded import inventory, models_folder
    from runtime.workflows.dossier import Surroundings, dossier

    registry = Registry(models_folder(settings))
    named = {kind: settings.model * (kind == "chat") or registry.default(kind) for kind in get_args(Kind)}
    around = Surroundings(
        settings.policy,
        wait_for(records_of(settings)) if settings.tools else [],
        inventory(settings.inventory),
        settings.people().named(user) if user else settings.user,
        [registry.get(name, kind) for kind, name in named.items() if name],
        settings.people().sole,
    )
    return dossier(workflow, around)

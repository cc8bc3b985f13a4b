"""`bailiwick models`: which GGUF files the agents may think with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import plain, show, table
from runtime.cli.site import AsJson, Site, noun, verb

if TYPE_CHECKING:
    from models.model import Model
    from models.registry import Registry

app = noun("Models: add a GGUF, choose the default, check the hashes.")

Name = Annotated[str, typer.Argument(help="A model's name.")]


def _registry(site: Site) -> "Registry":
    from models.registry import Registry

    return Registry(site.settings().data_dir / "models")


@verb(app, "list")
def list_models(site: Site, json: AsJson = False) -> None:
    """All models; a star marks the default of its kind."""
    registry = _registry(site)
    found = registry.list()
    defaults = {registry.default("chat"), registry.default("embedding")}
    if json:
        show([{**_json(model), "default": model.name in defaults} for model in found])
        return
    rows = [
        (
            "*" if m.name in defaults else "",
            m.name,
            m.kind,
            m.architecture,
            f"{m.bytes // 10**6} MB",
            m.licence,
            m.file,
        )
        for m in found
    ]
    table(("", "NAME", "KIND", "ARCHITECTURE", "SIZE", "LICENCE", "FILE"), rows)


@verb(app, "add")
def add(
    site: Site,
    file: Annotated[Path, typer.Argument(help="A GGUF file.")],
    name: Annotated[str, typer.Option(help="Its name here; made from the file's if not given.")] = "",
    licence: Annotated[str, typer.Option(help="Its licence, if the file does not say.")] = "",
    copy: Annotated[bool, typer.Option("--copy", help="Keep a copy in the data folder.")] = False,
    json: AsJson = False,
) -> None:
    """Record a GGUF file with its sha256."""
    model = _registry(site).add(file.expanduser().absolute(), name, licence, copy=copy)
    _say(model, "added", json)


@verb(app, "use")
def use(site: Site, name: Name, json: AsJson = False) -> None:
    """Make a model the default of its kind."""
    _say(_registry(site).use(name), "default", json)


@verb(app, "verify")
def verify(
    site: Site,
    name: Annotated[str, typer.Argument(help="A model's name; all models if not given.")] = "",
    json: AsJson = False,
) -> None:
    """Recompute sha256 sums; exit code 7 if a file is not the one that was added."""
    registry = _registry(site)
    for each in [name] if name else [model.name for model in registry.list()]:
        _say(registry.verify(each), "ok", json)


@verb(app, "remove")
def remove(site: Site, name: Name, json: AsJson = False) -> None:
    """Forget a model; its file stays, unless it is a copy of ours."""
    _say(_registry(site).remove(name), "removed", json)


def _say(model: "Model", what: str, json: bool) -> None:
    if json:
        show({"done": what, **_json(model)})
    else:
        print(f"{what}: {plain(model.name)}  sha256 {model.sha256}")


def _json(model: "Model") -> dict[str, object]:
    """All that is known, but for the chat template: a page of text that nobody lists for."""
    return {key: value for key, value in model.json().items() if key != "template"}

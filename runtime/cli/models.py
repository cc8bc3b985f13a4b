"""`bailiwick models`: which GGUF files the agents may think with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from runtime.cli.page import plain, show, table
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from runtime.diagnostics import say
from store.records.errors import BailiwickError

if TYPE_CHECKING:
    from models.model import Model
    from models.registry import Registry
    from runtime.gateway.messages import ModelView

app = noun("Models: add a GGUF, choose the default, check the hashes.")

Name = Annotated[str, typer.Argument(help="A model's name.")]


def _registry(site: Site) -> "Registry":
    from models.registry import Registry

    return Registry(site.settings().data_dir / "models")


@verb(app, "list", on="folder")
def list_models(site: Site, json: AsJson = False) -> None:
    """All models; a star marks the default of its kind.

    Of those that the runtime has loaded: how many layers are on the GPU, the memory taken there, and the context. A
    runtime that does not answer is told of, and the models are listed all the same.
    """
    from models.model import Kind

    registry = _registry(site)
    found, loaded = registry.list(), _loaded(site)
    defaults = {registry.default(kind) for kind in get_args(Kind)}
    if json:
        here = {sha256: view.model_dump(mode="json") for sha256, view in loaded.items()}
        show([{**_json(m), "default": m.name in defaults, "loaded": here.get(m.sha256)} for m in found])
        return
    rows = [
        (
            "*" if m.name in defaults else "",
            m.name,
            m.kind,
            m.architecture,
            f"{m.bytes // 10**6} MB",
            m.licence,
            *_where(loaded.get(m.sha256)),
            m.file,
        )
        for m in found
    ]
    columns = ("", "NAME", "KIND", "ARCHITECTURE", "SIZE", "LICENCE", "LAYERS ON GPU", "GPU MEMORY", "CONTEXT", "FILE")
    table(columns, rows)


def _loaded(site: Site) -> dict[str, "ModelView"]:
    """What the runtime of this data folder has loaded, by sha256; nothing if none is up."""
    from runtime.cli.backend import client
    from runtime.gateway.paths import listening

    settings = site.settings()
    if not listening(settings.socket):
        return {}

    async def ask() -> dict[str, "ModelView"]:
        async with client(settings) as connected:
            return {each.sha256: each for each in (await connected.status()).models}

    try:
        return wait_for(ask())
    except BailiwickError as error:
        say(str(error))
        return {}


def _where(loaded: "ModelView | None") -> tuple[str, str, str]:
    """The cells that tell what a model takes."""
    if loaded is None:
        return "not loaded", "", ""
    on_device = f"{loaded.layers_on_device} of {loaded.layers}"
    return on_device, f"{loaded.device_bytes // 2**20} MiB", f"{loaded.context} tokens"


@verb(app, "add", on="folder")
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


@verb(app, "use", on="folder")
def use(site: Site, name: Name, json: AsJson = False) -> None:
    """Make a model the default of its kind."""
    _say(_registry(site).use(name), "default", json)


@verb(app, "verify", on="folder")
def verify(
    site: Site,
    name: Annotated[str, typer.Argument(help="A model's name; all models if not given.")] = "",
    json: AsJson = False,
) -> None:
    """Recompute sha256 sums; exit code 7 if a file is not the one that was added."""
    registry = _registry(site)
    for each in [name] if name else [model.name for model in registry.list()]:
        _say(registry.verify(each), "ok", json)


@verb(app, "remove", on="folder")
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

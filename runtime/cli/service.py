"""`bailiwick up`, `down` and `status`: the runtime as a daemon."""

import os
import select
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.flags import Model, Policy, RequireGpu, Tools, Workflows, given
from runtime.cli.metrics import exposition
from runtime.cli.page import facts, row, show
from runtime.cli.site import AsJson, Site, verb, wait_for
from store.records.errors import SettingsError, Timeout

if TYPE_CHECKING:
    from runtime.gateway.messages import ModelView, StatusView

STOP_S = 30.0
"""How long an orderly end may take: an effect under way is not broken off."""


def register(app: typer.Typer) -> None:
    """Add the verbs to the top group."""
    verb(app, "up")(up)
    verb(app, "down")(down)
    verb(app, "status")(status)


def _where(model: "ModelView") -> str:
    """Where a model lies, and what it takes there."""
    host, device = model.host_bytes // 2**20, model.device_bytes // 2**20
    return f"{model.layers_on_device} of {model.layers} layers on a GPU, {device} MiB there, {host} MiB here"


def up(
    site: Site,
    tools: Tools = None,
    workflows: Workflows = None,
    policy: Policy = None,
    model: Model = None,
    require_gpu: RequireGpu = False,
) -> int:
    """Start the runtime and keep it up, in the foreground.

    Open runs go on.
    """
    from runtime import embedded

    typed = given(tools=tools, workflows=workflows, policy=policy, model=model, require_gpu=require_gpu)
    return embedded.up(site.own(**typed))


def down(site: Site, json: AsJson = False) -> None:
    """Stop the runtime, and wait until it has.

    Open runs go on at the next start. Of one elsewhere, only that it is told to is waited for.
    """
    from runtime.cli.backend import client

    settings = site.settings()

    async def ask() -> int | None:
        async with client(settings) as c:
            daemon = None if settings.connect else os.pidfd_open(c.greeting.pid)
            await c.stop()
        return daemon

    daemon = wait_for(ask())
    if daemon is not None:
        _await_end(daemon)
    if json:
        show({"told": True, "ended": daemon is not None})


def _await_end(daemon: int) -> None:
    """Return once the process of a pidfd, which is closed, has ended. Raises Timeout."""
    try:
        # A pidfd can be read once its process has ended (pidfd_open(2)); only then is the data folder free again.
        if not select.select([daemon], [], [], STOP_S)[0]:
            raise Timeout(f"the runtime has not ended in {STOP_S:g} s", do="see `bailiwick status`")
    finally:
        os.close(daemon)


def status(
    site: Site,
    json: AsJson = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Counters as Prometheus reads them.")] = False,
) -> None:
    """The state of the runtime, the models it has loaded, and what they have done.

    Exit code 3 if none is up.
    """
    if json and metrics:
        raise SettingsError("counters for Prometheus are no JSON", "flags --json and --metrics", "give one")
    from runtime.cli.backend import client
    from runtime.diagnostics import say
    from runtime.fallback import warn

    async def ask() -> "StatusView":
        async with client(site.settings()) as c:
            return await c.status()

    found = wait_for(ask())
    if metrics:
        print(exposition(found), end="")
        return
    if json:
        show(found.model_dump(mode="json"))
        return
    facts(found.model_dump(mode="json", exclude={"models", "counters"}))
    for model in found.models:
        row(f"{model.name}: ", f"{_where(model)}, context {model.context}")
    warn(found)
    if found.idle_runs:
        say(f"nobody drives {found.idle_runs} of the open runs: `bailiwick resume` does, `runs list` names them")

"""The tree of commands: our nouns and verbs, then those that other packages add.

A package adds a verb by an entry point in the group `bailiwick.verbs` that names a function: its parameters become
arguments and options, as typer reads them, and its docstring the help. The module must be cheap to import. If
`--data-dir` is given, a parameter `socket`, which then must not be, becomes the socket of that folder's runtime;
without that parameter it is refused, as `--connect` always is. A verb of ours is never replaced by another package's.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from runtime.cli import (
    agents,
    approvals,
    audit,
    budget,
    demo,
    doctor,
    grants,
    halt,
    keys,
    models,
    policy,
    queues,
    redteam,
    runs,
    schedules,
    service,
    storage,
    task,
    tokens,
    tools,
    upgrade,
    users,
    workflows,
)
from runtime.cli import whoami as identity
from runtime.cli.site import Site, noun, verb
from store.records.errors import BailiwickError, SettingsError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "bailiwick.verbs"
NOUNS = {
    "runs": runs,
    "schedules": schedules,
    "approvals": approvals,
    "grants": grants,
    "audit": audit,
    "keys": keys,
    "workflows": workflows,
    "agents": agents,
    "tools": tools,
    "models": models,
    "policy": policy,
    "users": users,
    "tokens": tokens,
    "budget": budget,
}
VERBS = (demo, task, queues, budget, service, halt, storage, upgrade, identity, doctor, redteam)


class Root(TyperGroup):
    """The top group. Looks among the installed entry points only for a verb that is not ours."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Our commands, then the plugins'."""
        ours = super().list_commands(ctx)
        return [*ours, *sorted(name for name in _plugins() if name not in ours)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Our command of that name, or else a plugin's."""
        return super().get_command(ctx, cmd_name) or (_plugin(_plugins()[cmd_name]) if cmd_name in _plugins() else None)


def build() -> typer.Typer:
    """The whole command line."""
    app = noun(
        "A local-first runtime for AI agents that do nothing policy, budget, reviewer and person have not allowed."
    )
    app.info.cls = Root
    app.callback()(_root)
    for module in VERBS:
        module.register(app)
    for name, module in NOUNS.items():
        app.add_typer(module.app, name=name)
    return app


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("bailiwick-runtime"))
        raise typer.Exit()


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    del version


def _plugins() -> "dict[str, EntryPoint]":
    from importlib.metadata import entry_points

    return {found.name: found for found in entry_points(group=GROUP)}


def _plugin(found: "EntryPoint") -> Any:
    """A plugin's verb as a command. One that cannot be loaded fails when it is typed, not in everybody's help."""
    try:
        function = found.load()
    except (ImportError, AttributeError) as error:
        function = _broken(found, error)

    @wraps(function)
    def run(site: Site, **arguments: Any) -> int | None:
        if site.data_dir is not None:
            if arguments["socket"] is not None:
                raise SettingsError("the socket names the runtime", "flags --data-dir and --socket", "give one")
            arguments["socket"] = site.settings().socket
        result: int | None = function(**arguments)
        return result

    first = inspect.Parameter("site", inspect.Parameter.POSITIONAL_ONLY)
    own = inspect.signature(function, eval_str=True).parameters
    run.__dict__["__signature__"] = inspect.Signature([first, *own.values()])
    app = noun("")
    verb(app, found.name, on="folder" if "socket" in own else "nothing")(run)
    return typer.main.get_command(app)


def _broken(found: "EntryPoint", error: Exception) -> Callable[[], None]:
    def broken() -> None:
        raise BailiwickError("the verb cannot be loaded", found.value, "install its package again") from error

    broken.__doc__ = f"Cannot be loaded ({found.value})."
    return broken

"""A runtime for one command: the daemon's, if one is up on this data folder, else one started here and ended after.

What is started here listens too, so that `bailiwick top` can watch it.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from runtime.cli.backend import is_up
from runtime.cli.page import plain, show
from runtime.fallback import warn
from runtime.folders import only_ours
from runtime.gate.inventory import Inventory
from runtime.gateway.client import Client
from runtime.gateway.messages import RunView, Submission
from runtime.settings import Settings
from runtime.watching import Approve, Watcher, console_of, outcome_error
from store.records.errors import BailiwickError, SettingsError, Unreachable
from tools.catalog import Catalog, load

if TYPE_CHECKING:
    from runtime.actors.supervisor import Plan

MODELS = "models"
T = TypeVar("T")


def models_folder(settings: Settings) -> Path:
    """Where the site's registry of models is."""
    return settings.data_dir / MODELS


def catalogs(files: Sequence[Path]) -> tuple[Catalog, ...]:
    """The tools files, read. Raises SettingsError, also if others could have written one: it names programs to run."""
    return tuple(load(only_ours(path)) for path in files)


def inventory(path: Path | None) -> Inventory:
    """The site's trusted inventory: a JSON object of names by kind. Raises SettingsError."""
    if path is None:
        return Inventory()
    try:
        objects = json.loads(only_ours(path).read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read the inventory: {type(error).__name__}", str(path), "see the README") from None
    if not isinstance(objects, dict) or not all(isinstance(names, list) for names in objects.values()):
        raise SettingsError("the inventory is not an object of lists", str(path), 'write {"Service": ["orders"]}')
    return Inventory({kind: tuple(map(str, names)) for kind, names in objects.items()})


def running(settings: Settings) -> bool:
    """Whether a runtime listens for this data folder, or is another one that settings name."""
    return is_up(settings)


@asynccontextmanager
async def session(settings: Settings, *, resume: bool = False) -> AsyncIterator[Client]:
    """A client of the running daemon, or of a runtime that lives as long as the session."""
    if running(settings):
        async with await Client.at(settings.address()) as client:
            await _warn(client)
            yield client
        return
    from runtime.actors.supervisor import Supervisor

    async with Supervisor(plan(settings, resume=resume)), await Client.connect(settings.socket) as client:
        terminate_like_ctrl_c()
        await _warn(client)
        yield client


async def _warn(client: Client) -> None:
    # A runtime that cannot tell its status may still do the work, and says so itself where it cannot.
    with suppress(BailiwickError):
        warn(await client.status())


def terminate_like_ctrl_c() -> None:
    """Let SIGTERM end this command in order, as ctrl-C does; Ray, once started, would dump a stack and die of it.

    Not by raising SIGINT: a shell's background job ignores that. The command must be run by `interruptible`.
    """
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def interruptible(command: Coroutine[Any, Any, T]) -> T:
    """What a command returns. Raises KeyboardInterrupt if it was told to end, by ctrl-C or SIGTERM."""
    try:
        return asyncio.run(command)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def plan(settings: Settings, *, resume: bool) -> "Plan":
    """What a runtime for these settings is started with. Raises SettingsError.

    What can be wrong is looked at here, before anything is started: Ray and the models take seconds.
    """
    from runtime.actors.supervisor import Plan
    from runtime.gate.check import check
    from runtime.workflows.catalog import load as load_workflows

    problem = next((finding for finding in check(settings.policy) if finding.problem), None)
    if problem is not None:
        raise problem.error()
    load_workflows(settings.workflows)
    settings.check_service().people().now()
    settings.tcp()
    return Plan(
        settings=settings.open_folders(),
        models_folder=models_folder(settings),
        catalogs=catalogs(settings.tools),
        inventory=inventory(settings.inventory),
        resume=resume,
    )


def run(
    settings: Settings,
    task: str,
    *,
    workflow: str = "",
    attach: Sequence[Path] = (),
    seed: int = 0,
    queue: str = "",
    approve: Approve = "ask",
    json: bool = False,
    flags: Sequence[str] = (),
) -> int:
    """See a task through; its exit code. Raises the error that the run's status stands for.

    `flags` names those of the command line that concern the runtime: one that is up already cannot follow them.
    """
    submission = Submission.of(
        task=task, workflow=workflow, attachments=tuple(map(_text, attach)), seed=seed, queue=queue
    )
    _only_without_daemon(settings, flags)

    async def see_through() -> list[RunView]:
        async with session(settings) as client:
            watcher = Watcher(client, _console(json), approve)
            return [await watcher.watch(await client.submit(submission))]

    return _report(interruptible(see_through()), json)


def resume(
    settings: Settings, run: str = "", *, approve: Approve = "ask", json: bool = False, flags: Sequence[str] = ()
) -> int:
    """Go on with one open run, or with all; the exit code. Raises what the worst of them stands for.

    `flags` as for `run`.
    """
    _only_without_daemon(settings, flags)

    async def see_through() -> list[RunView]:
        async with session(settings) as client:
            watcher = Watcher(client, _console(json), approve)
            before = (await client.status()).events
            return [await watcher.watch(each, before) for each in await client.resume(run)]

    return _report(interruptible(see_through()), json)


def up(settings: Settings) -> int:
    """Keep a runtime up until it is told to stop. Raises Unreachable if one is up on this data folder."""
    if running(settings):
        raise Unreachable("a runtime is up for this data folder", str(settings.socket), "stop it: `bailiwick down`")
    from runtime.actors.supervisor import Supervisor

    async def serve() -> None:
        async with Supervisor(plan(settings, resume=True)) as supervisor:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, supervisor.request_stop)
            warn(await supervisor.status())
            print(f"bailiwick is up; it listens at {supervisor.socket}", file=sys.stderr, flush=True)
            await supervisor.stopped()

    asyncio.run(serve())
    return 0


def _only_without_daemon(settings: Settings, flags: Sequence[str]) -> None:
    if flags and running(settings):
        given = ", ".join(f"--{flag.replace('_', '-')}" for flag in flags)
        raise SettingsError(
            f"the daemon that is up has settings of its own, so {given} cannot be followed",
            str(settings.socket),
            "leave it out, or stop the daemon: `bailiwick down`",
        )


def _report(views: list[RunView], as_json: bool) -> int:
    if not views:
        print("[]" if as_json else "no run is open")
    for view in views:
        if as_json:
            show(view.model_dump(mode="json"))
        else:
            print(plain(f"{view.run}: {view.outcome}" if len(views) > 1 else view.outcome), flush=True)
    errors = [error for error in map(outcome_error, views) if error is not None]
    if errors:
        raise max(errors, key=lambda error: error.exit_code)
    return 0


def _console(as_json: bool) -> Console:
    return console_of(sys.stderr, quiet=as_json)


def _text(path: Path) -> str:
    """The text of an attachment. Raises SettingsError if it cannot be read as UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot read the attachment: {error.strerror}", str(path), "check the path") from None
    except UnicodeDecodeError:
        raise SettingsError("the attachment is not UTF-8 text", str(path), "attach a text") from None

"""What every verb is given: where it works (`--data-dir`, `--connect`) and how loud it is (`--debug`).

`verb` turns a function over a Site into a typer command with these flags. The command only parses: it returns a call
that `main` makes once typer is done, so that one place maps every failure to its line and exit code.
"""

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.settings import Settings

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="The data folder to work on.")]
Connect = Annotated[
    str | None,
    typer.Option("--connect", metavar="HOST:PORT", help="A runtime elsewhere, entered with token_file."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]


@dataclass(frozen=True, slots=True)
class Site:
    """The common flags of one invocation."""

    data_dir: Path | None = None
    debug: bool = False
    connect: str | None = None

    def settings(self, **flags: Any) -> "Settings":
        """The settings in force, these flags on top. None means that a flag was not given."""
        from runtime.settings import Settings

        common = {"data_dir": self.data_dir, "debug": self.debug or None, "connect": self.connect}
        return Settings.load(**common, **flags)

    def own(self) -> "Settings":
        """As `settings`, for what is done to this machine's own files. Raises SettingsError if another is meant."""
        settings = self.settings()
        if settings.connect:
            where = "flag --connect" if self.connect else "setting connect"
            raise SettingsError("this is done on the machine whose files it is about", where, "leave it out")
        return settings


def noun(help: str) -> typer.Typer:
    """An empty group of verbs."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def verb(app: typer.Typer, name: str) -> Callable[[Callable[..., int | None]], Callable[..., Any]]:
    """Register a function whose first parameter is a Site; the rest are its own arguments and options."""

    def register(function: Callable[..., int | None]) -> Callable[..., Any]:
        @functools.wraps(function)
        def parsed(
            data_dir: Path | None, debug: bool, connect: str | None, **arguments: Any
        ) -> Callable[[], int | None]:
            return functools.partial(function, Site(data_dir, debug, connect), **arguments)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter("data_dir", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=DataDir),
            inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug),
            inspect.Parameter("connect", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Connect),
        ]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [*(parameter.replace(kind=keyword) for parameter in own), *common]
        parsed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        parsed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del parsed.__wrapped__  # typer would follow it to the unextended signature
        app.command(name)(parsed)
        return function

    return register


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in an event loop of its own."""
    import asyncio

    return asyncio.run(work)

"""What every verb is given: where it works (`--data-dir`, `--connect`) and how loud it is (`--debug`).

`verb` turns a function over a Site into a typer command with these flags. The command only parses: it returns a call
that `main` makes once typer is done, so that one place maps every failure to its line and exit code. A flag that a verb
could not follow is refused, never ignored; a setting that does not concern a verb does not disturb it.
"""

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.settings import Settings

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]

On = Literal["runtime", "folder", "nothing"]
"""What a verb works on: the runtime that `--data-dir` or `--connect` names, or its data folder while none is up; a data
folder of this machine, whatever `connect` is set to; or neither."""


@dataclass(frozen=True, slots=True)
class Site:
    """The common flags of one invocation."""

    data_dir: Path | None = None
    debug: bool = False
    connect: str | None = None

    def settings(self, **flags: Any) -> "Settings":
        """The settings in force, these flags on top. None means that a flag was not given.

        Raises SettingsError if a data folder is named by flag, and by flag or setting a runtime elsewhere.
        """
        settings = self._load(flags)
        if settings.connect and self.data_dir is not None:
            what = f"the runtime at {settings.connect} has a data folder of its own"
            raise SettingsError(what, "flag --data-dir", "leave it out, or have no runtime elsewhere: --connect ''")
        return settings

    def own(self, **flags: Any) -> "Settings":
        """As `settings`, for what is done to this machine's own files. Raises SettingsError if another is meant."""
        settings = self._load(flags)
        if settings.connect:
            where = "flag --connect" if self.connect else "setting connect"
            raise SettingsError("this is done on the machine whose files it is about", where, "leave it out")
        return settings

    def on(self, what: On) -> "Site":
        """The same, for what works on this and nothing else. Raises SettingsError for a flag that would be ignored."""
        if what == "runtime":
            return self
        if self.connect:
            raise SettingsError("this asks no runtime elsewhere", "flag --connect", "leave it out")
        if what == "nothing" and self.data_dir is not None:
            raise SettingsError("this looks into no data folder", "flag --data-dir", "leave it out")
        return replace(self, connect="")

    def _load(self, flags: dict[str, Any]) -> "Settings":
        from runtime.settings import Settings

        common = {"data_dir": self.data_dir, "debug": self.debug or None, "connect": self.connect}
        return Settings.load(**common, **flags)


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


def verb(app: typer.Typer, name: str, on: On = "runtime") -> Callable[[Callable[..., int | None]], Callable[..., Any]]:
    """Register a function whose first parameter is a Site; the rest are its own arguments and options."""

    def register(function: Callable[..., int | None]) -> Callable[..., Any]:
        @functools.wraps(function)
        def parsed(
            data_dir: Path | None, debug: bool, connect: str | None, **arguments: Any
        ) -> Callable[[], int | None]:
            return functools.partial(function, Site(data_dir, debug, connect).on(on), **arguments)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter("data_dir", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_data_dir(on)),
            inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug),
            inspect.Parameter("connect", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_connect(on)),
        ]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [*(parameter.replace(kind=keyword) for parameter in own), *common]
        parsed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        parsed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del parsed.__wrapped__  # typer would follow it to the unextended signature
        app.command(name)(parsed)
        return function

    return register


def _data_dir(on: On) -> Any:
    """The flag `--data-dir`; where it is refused, it is not in the help."""
    said = "The data folder to work on."
    return Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help=said, hidden=on == "nothing")]


def _connect(on: On) -> Any:
    """The flag `--connect`, likewise."""
    said = "A runtime elsewhere, entered with token_file."
    return Annotated[str | None, typer.Option("--connect", metavar="HOST:PORT", help=said, hidden=on != "runtime")]


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in an event loop of its own."""
    import asyncio

    return asyncio.run(work)

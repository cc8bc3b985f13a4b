"""What every verb is given: where it works (`--data-dir`) and how loud it is (`--debug`).

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

if TYPE_CHECKING:
    from runtime.settings import Settings

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="The data folder to work on.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]


@dataclass(frozen=True, slots=True)
class Site:
    """The common flags of one invocation."""

    data_dir: Path | None = None
    debug: bool = False

    def settings(self, **flags: Any) -> "Settings":
        """The settings in force, these flags on top. None means that a flag was not given."""
        from runtime.settings import Settings

        return Settings.load(data_dir=self.data_dir, debug=self.debug or None, **flags)


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
        def parsed(data_dir: Path | None, debug: bool, **arguments: Any) -> Callable[[], int | None]:
            return functools.partial(function, Site(data_dir, debug), **arguments)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter("data_dir", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=DataDir),
            inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug),
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

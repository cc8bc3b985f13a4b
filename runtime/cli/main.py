"""The command `bailiwick`: collects the nouns, parses the arguments, runs the verb, ends with its exit code."""

import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]


def main() -> None:
    """The entry point of the distribution's console script."""
    _leave_current_folder()
    from runtime import diagnostics

    sys.exit(diagnostics.run(lambda: _run(sys.argv[1:]), debug="--debug" in sys.argv))


def _leave_current_folder() -> None:
    """Nothing is imported from the folder the command was typed in, whatever PYTHONPATH says: it may hold a `tools/`.

    The folder of our own rooms stays: in a checkout that is where they are.
    """
    try:
        here = Path.cwd().resolve()
    except OSError:
        return
    if here != HOUSE:
        sys.path[:] = [path for path in sys.path if path and Path(path).resolve() != here]


def _run(arguments: list[str]) -> int | None:
    import typer

    from runtime.cli.app import build
    from store.records.errors import SettingsError

    app = build()
    try:
        parsed = app(arguments, prog_name="bailiwick", standalone_mode=False)
    except typer.TyperException as error:
        message = getattr(error, "format_message", error.__str__)()
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "bailiwick"
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message)
            return SettingsError.exit_code
        raise SettingsError(message.rstrip(".") or "the arguments are not right", do=f"see `{path} --help`") from None
    code: int | None = parsed() if callable(parsed) else parsed
    return code

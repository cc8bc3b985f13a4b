"""Every failure a person or an author of workflows can meet, and the exit code each one ends in.

An error is one line: what went wrong, where, and what to do. It never carries secrets or model text.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

OK, FAILED, USAGE, UNREACHABLE, TIMEOUT, DENIED, BUDGET, INTEGRITY, WAITING = range(9)
INTERRUPTED = 130


class BailiwickError(Exception):
    """Base of all errors: `what` happened, `where` (a file, a tool, a step), what to `do` about it."""

    exit_code: ClassVar[int] = FAILED

    def __init__(self, what: str, where: str = "", do: str = "") -> None:
        super().__init__(what, where, do)
        self.what, self.where, self.do = what, where, do

    def __str__(self) -> str:
        line = self.what + (f" ({self.where})" if self.where else "")
        return f"{line}; {self.do}" if self.do else line

    def __reduce__(self) -> tuple[Any, ...]:
        # Actors send errors to each other as pickles. Python would call the class with `args`, which are these three
        # texts whatever a subclass is made from.
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[BailiwickError], arguments: tuple[Any, ...], state: dict[str, Any]) -> BailiwickError:
    """An error as it was, made without its class's own constructor."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class SettingsError(BailiwickError):
    """A flag, a setting or a file given by the user cannot be used."""

    exit_code = USAGE


class Unreachable(BailiwickError):
    """The runtime, or a part it needs, cannot be started or reached."""

    exit_code = UNREACHABLE


class Missing(Unreachable):
    """Something that a run needs is not installed or declared here, which only another start can change."""


class Timeout(BailiwickError):
    """A step or a run did not end in the time it was given."""

    exit_code = TIMEOUT


class Denied(BailiwickError):
    """Policy or a person said no. The run ends; no fallback runs after it."""

    exit_code = DENIED


class BudgetExceeded(BailiwickError):
    """The budget would be overspent by the next call, which therefore was not made."""

    exit_code = BUDGET


class IntegrityError(BailiwickError):
    """Bytes on disk are not the bytes that were recorded."""

    exit_code = INTEGRITY


class Waiting(BailiwickError):
    """The run waits for a person; it goes on when the person has answered."""

    exit_code = WAITING


class InDoubt(Waiting):
    """An effect has an intent and no outcome, and its tool cannot say whether it happened."""


class Halted(Waiting):
    """No effect may begin at this site until a person releases the halt; the run is parked meanwhile."""


class UserGone(Waiting):
    """The user on whose behalf a run goes is not one of the site any more; the run is parked until they are."""


class DeadLetter(Waiting):
    """A step failed as often as it may be tried; the run is parked until a person has it tried again."""


class ChildFailed(BailiwickError):
    """A child run ended, but not as completed."""


class ModelFailed(BailiwickError):
    """The model did not get there: no fitting answer, allowance spent, timeout, or the reviewer's no."""


class ToolFailed(BailiwickError):
    """A tool answered with an error, or its server is gone."""


class ReplayMismatch(BailiwickError):
    """A workflow asked for another step than the one recorded at this place; the run is parked."""

    exit_code = WAITING


ERRORS: Mapping[str, type[BailiwickError]] = {
    name: kind for name, kind in list(globals().items()) if isinstance(kind, type) and issubclass(kind, BailiwickError)
}
"""The classes of this module by name: what an error may be once it has been on disk or on a socket."""


def describe(error: BailiwickError) -> dict[str, str]:
    """An error as plain JSON, under its nearest class of this module: whoever catches that catches the revived one."""
    kind = next(each.__name__ for each in type(error).__mro__ if ERRORS.get(each.__name__) is each)
    return {"kind": kind, "what": error.what, "where": error.where, "do": error.do}


def revive(kind: str, what: str, where: str = "", do: str = "") -> BailiwickError:
    """The error that `describe` described. A class that this version does not know becomes a plain BailiwickError."""
    return ERRORS.get(kind, BailiwickError)(what, where, do)

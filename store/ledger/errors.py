"""What can go wrong in the ledger beyond the errors that every room knows."""

from store.records.errors import BailiwickError, Unreachable


class LedgerFailed(Unreachable):
    """The ledger could not be written or read, or it is closed. It takes nothing more until it is opened again."""


class Unstorable(BailiwickError):
    """A draft or a payload cannot be kept as it is: not JSON, free text in a name, or too large."""


def first_line(error: BaseException) -> str:
    """What an error says, cut to its first line: DuckDB appends hints and stack traces."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__

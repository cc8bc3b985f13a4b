"""What can go wrong in the ledger beyond the errors that every room knows."""

from store.records.errors import BailiwickError, Unreachable


class LedgerFailed(Unreachable):
    """The ledger could not be written or read, or it is closed. It takes nothing more until it is opened again."""


class Unstorable(BailiwickError):
    """A draft or a payload cannot be kept as it is: not JSON, free text in a name, or too large."""

"""What can go wrong with keys beyond the errors that every room knows."""

from store.records.errors import IntegrityError


class Locked(IntegrityError):
    """The site key is not there, so that no content can be opened and none can be added. All else can be read."""


class Shredded(IntegrityError):
    """The content was destroyed on purpose, or its time was over; the event that says so is in the log."""

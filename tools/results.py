"""What a tool may answer: JSON of a bounded size. A result that is too large is refused, never cut in silence."""

from store.records.canonical import Json, canonical
from store.records.errors import ToolFailed

MAX_RESULT_BYTES = 256 * 1024


class BadResult(ToolFailed):
    """The tool was called, and what it answered cannot be used. An effect may have happened."""


def checked(value: Json, tool: str) -> Json:
    """`value`, if it is JSON of at most MAX_RESULT_BYTES canonical bytes. Raises BadResult otherwise."""
    try:
        size = len(canonical(value))
    except (ValueError, TypeError, RecursionError):  # rfc8785 raises subclasses of ValueError
        raise BadResult("the tool's result is not JSON", tool, "report it to the tool's owner") from None
    if size > MAX_RESULT_BYTES:
        limit = MAX_RESULT_BYTES // 1024
        raise BadResult(f"the tool's result has {size} bytes, more than {limit} KiB", tool, "ask it for less")
    return value

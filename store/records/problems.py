"""What pydantic found wrong with a value, in words for people. Never the value itself: it may be a secret."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def problem(error: "ValidationError") -> tuple[str, str]:
    """The first problem: its place, with dots, empty for the whole; and what is wrong there."""
    return _problems(error)[0]


def problems(error: "ValidationError", whole: str = "it", most: int = 1) -> str:
    """The first problem, or so many of them, in one line: `server.ops.command: field required`."""
    return ", ".join(f"{place or whole}: {said}" for place, said in _problems(error)[:most])


def _problems(error: "ValidationError") -> list[tuple[str, str]]:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [(".".join(map(str, each["loc"])), _words(each["msg"])) for each in found]


def _words(said: str) -> str:
    """As a part of a sentence; a word in capitals keeps them."""
    said = said.removeprefix("Value error, ")
    return said if said[1:2].isupper() else said[:1].lower() + said[1:]

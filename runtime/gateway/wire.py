"""Lines on the socket: how a message becomes one, how long one may be, and how an error travels.

Never evaluates, imports or unpickles anything by a name that came over the socket: errors are looked up in a table.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json

from runtime.gateway.messages import Failure
from store.records.errors import BailiwickError, describe, revive

PROTOCOL = 1
REQUEST_BYTES = 1 << 20
"""The longest line a caller may send. Small, because the gateway holds one for every connection."""
ANSWER_BYTES = 64 << 20
"""The longest line the gateway sends: payloads travel whole."""
REQUESTS = 32
"""How many requests of one connection may be under way."""
CONNECTION = 0
"""The id of what concerns the connection and not one request."""


class LineTooLong(Exception):
    """A line was longer than allowed. It has been read to its end and thrown away."""


def encode(message: Mapping[str, Any]) -> bytes:
    """One line of compact JSON, with its newline. Raises ValueError for what JSON cannot carry."""
    return to_json(message, bytes_mode="hex", inf_nan_mode="null") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises ValueError if it is not one."""
    message = from_json(line)
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


async def read_line(reader: asyncio.StreamReader, most: int) -> bytes:
    """The next line, of at most `most` bytes, or b"" at the end of the stream. Raises LineTooLong.

    A line that is too long is read to its end and thrown away piece by piece, so that the next one can be read.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            piece = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            piece = await reader.readexactly(error.consumed)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        size += len(piece)
        if size > most:
            pieces.clear()
        else:
            pieces.append(piece)
        if piece.endswith(b"\n"):
            break
    if size > most:
        raise LineTooLong
    return b"".join(pieces)


def failure(error: BailiwickError) -> Failure:
    """An error as a message. A kind that callers cannot know travels as the nearest one they do."""
    return Failure(**describe(error))


def error(answer: Any) -> BailiwickError:
    """The error in an answer, of the class it had on the other side."""
    return revive(**Failure.model_validate(answer).model_dump())

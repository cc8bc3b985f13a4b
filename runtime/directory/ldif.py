"""Records of an LDIF file (RFC 2849), strictly: content only, as an export writes it.

Changes are refused, for they say nothing of what there is, and so is a value that lies in another file. Values are
UTF-8 text; one that is not in the plain alphabet must be base64, as the standard has it. No line number is lost to
folding: each value knows the line on which it begins.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime.directory.entries import Flaw

_DESCRIPTION = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)*)(?:;[A-Za-z0-9-]+)*")
"""An attribute's description (RFC 4512, section 2.5): its type or number, and options."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value, and the line on which it begins. `text` is None for bytes that are no UTF-8, a picture, say."""

    text: str | None
    line: int


@dataclass(slots=True)
class Entry:
    """One record: its distinguished name, the line of that, and the values by attribute, in lower case."""

    dn: str
    line: int
    values: dict[str, list[Value]] = field(default_factory=dict)


def entries(data: bytes) -> Iterator[Entry]:
    """The records of a file, in order. Raises Flaw, whose place is a line's number."""
    entry: Entry | None = None
    first = True
    for line, text in _unfolded(data):
        if not text:
            if entry:
                yield entry
            entry = None
            continue
        name, value = _parsed(text, line)
        if first and name == "version":
            if value.text != "1":
                raise Flaw("this is LDIF of another version than 1", line)
        elif entry is None:
            entry = _begun(name, value)
        elif name in ("changetype", "control", "dn"):
            what = "a record is not ended by an empty line" if name == "dn" else "a record says what to change"
            raise Flaw(f"{what}; an export of entries is wanted", line)
        else:
            entry.values.setdefault(name, []).append(value)
        first = False
    if entry:
        yield entry


def _begun(name: str, value: Value) -> Entry:
    if name != "dn":
        raise Flaw("a record does not begin with its dn", value.line)
    if not value.text:
        raise Flaw("the dn is empty, or no text", value.line)
    return Entry(value.text, value.line)


def _unfolded(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines with what is folded below them, each with the number of its first; comments left out, and "" where a
    record ends. Raises Flaw for a line that continues nothing."""
    pieces: list[bytes] = []
    begin = 0
    for number, line in enumerate([*data.replace(b"\r\n", b"\n").split(b"\n"), b""], 1):
        if line.startswith(b" "):
            if not pieces:
                raise Flaw("a line begins with a space, but there is nothing above that it continues", number)
            pieces.append(line[1:])
            continue
        if pieces and not pieces[0].startswith(b"#"):
            yield begin, b"".join(pieces)
        pieces, begin = [line] if line else [], number
        if not line:
            yield number, b""


def _parsed(line: bytes, number: int) -> tuple[str, Value]:
    description, colon, rest = line.partition(b":")
    name = description.decode("ascii", "replace")
    if not colon or not _DESCRIPTION.fullmatch(name):
        raise Flaw("the line is no attribute with a value", number)
    if rest.startswith(b"<"):
        raise Flaw(f"the value of {name} lies in another file, and none is read", number)
    if rest.startswith(b":"):
        return name.lower(), Value(_decoded(name, rest[1:].lstrip(b" "), number), number)
    value = rest.lstrip(b" ")
    if value[:1] in (b":", b"<") or any(byte in (0, 13) or byte > 127 for byte in value):
        raise Flaw(f"the value of {name} must be written in base64", number)
    return name.lower(), Value(value.decode("ascii"), number)


def _decoded(name: str, value: bytes, number: int) -> str | None:
    try:
        plain = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Flaw(f"the value of {name} is not base64", number) from None
    try:
        return plain.decode()
    except UnicodeDecodeError:
        return None

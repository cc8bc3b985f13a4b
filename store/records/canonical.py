"""Canonical JSON (RFC 8785) and the digests made of it.

Two values are the same to Bailiwick when their canonical bytes are the same.
"""

import hashlib
import json
from typing import Any

import rfc8785

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict with str keys."""

EXACT = 2**53 - 1
"""The largest whole number that canonical JSON can carry."""


def canonical(value: Json) -> bytes:
    """The RFC 8785 bytes of a JSON value.

    Raises ValueError for what JSON cannot carry: NaN, infinities, integers past 2**53, keys that are not text.
    """
    return bytes(rfc8785.dumps(value))


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode


def canonical_names(value: Json) -> bytes:
    """As `canonical`, in a fifth of the time, for what events are made of: ASCII keys, text, whole numbers below 2**53.

    There the two agree: RFC 8785 differs from Python's encoder in how it writes fractions, and sorts other keys.
    """
    return _encode(value).encode()


def parse(data: bytes) -> Json:
    """The JSON value of bytes; raises ValueError if they are not JSON."""
    return json.loads(data)


def sha256(data: bytes) -> str:
    """The lower-case hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Json) -> str:
    """The hex SHA-256 of a value's canonical bytes."""
    return sha256(canonical(value))

"""What every contender does: steps in sequence, each with a result of 1 KB that no two steps share.

The text is random, six bits in eight, and made from the step's number alone, so that it is the same for all of them and
costs each the same few microseconds.
"""

import base64
import hashlib
from statistics import mean

import zstandard

WARM_UP = 50
"""Steps that a contender takes before it is timed."""
_RAW = 768


def text(number: int) -> str:
    """The result of a step: 1,024 letters."""
    return base64.b64encode(hashlib.shake_128(number.to_bytes(8)).digest(_RAW)).decode()


def least_bytes(samples: int = 500) -> float:
    """What one result takes by itself when it is compressed: what storing it costs whoever stores it."""
    return mean(len(zstandard.ZstdCompressor().compress(text(number).encode())) for number in range(samples))

"""The numbers that an answer may hold: bounds under which what a model writes and what a program reads are the same."""

import math
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from models.engine.formats import NUMBERS
from models.errors import SchemaUnsupported

LARGEST = 2**53 - 1
"""No number is larger: integers beyond it change when they pass through a 64-bit float (RFC 8259, section 6)."""
DECIMALS = 9
"""How many digits a number has after the point at most: models fall into endless ones."""
LARGEST_STEP = 10_000
"""The digits of `multipleOf`, as an integer. What llguidance builds for a step grows with it."""
LARGEST_COMPOSED_STEP = 10
"""The same where several schemas meet, whose steps would be multiplied."""
_DIGITS = 15
"""So many decimal digits a 64-bit float keeps."""
_FEW = 6
"""Bounds with more digits after the point than this are about small numbers, which DECIMALS would shut out."""


def bounds(schema: dict[str, Any], whole: bool, composed: bool, place: str) -> dict[str, Any]:
    """The words for the numbers of a schema, in the sense of draft 2020-12; `whole` if all of them are integers.

    Raises SchemaUnsupported, naming the word at `place`, for what cannot be enforced.
    """
    given = _given(schema, whole, place)
    low, high = NUMBERS.get(schema.get("format", ""), None) or (-LARGEST, LARGEST)
    if "multipleOf" in schema:
        digits = _check_step(schema["multipleOf"], LARGEST_COMPOSED_STEP if composed else LARGEST_STEP, place)
        given["multipleOf"] = schema["multipleOf"]
        if digits:
            low, high = max(low, -(10 ** (_DIGITS - digits))), min(high, 10 ** (_DIGITS - digits))
    elif not whole and all(_decimals(bound) <= _FEW for bound in given.values()):
        # So few digits that none are lost, which would move a number onto a bound that excludes it.
        before = max(len(str(int(abs(bound)))) for word, bound in [("", 0), *given.items()] if word[:1] in ("", "e"))
        given["multipleOf"] = float(Decimal(1).scaleb(-min(DECIMALS, max(0, _DIGITS - before))))
    return {**given, "minimum": max(low, given.get("minimum", low)), "maximum": min(high, given.get("maximum", high))}


def numbers(value: Any) -> Iterator[float]:
    """The numbers in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _given(schema: dict[str, Any], whole: bool, place: str) -> dict[str, Any]:
    """The bounds that a schema sets and that are no wider than LARGEST; for integers none of them exclusive."""
    found: dict[str, Any] = {}
    for word, exclusive, inwards in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        plain, beyond = schema.get(word), schema.get(exclusive)
        if isinstance(beyond, bool):
            # Draft 4.
            plain, beyond = (None, plain) if beyond else (plain, None)
        if beyond is not None and whole:
            beyond = inwards * (math.floor(beyond * inwards) + 1)
            plain, beyond = beyond if plain is None else inwards * max(inwards * plain, inwards * beyond), None
        for bound, name in ((plain, word), (beyond, exclusive)):
            if bound is not None and bound * inwards > LARGEST:
                what = f"the schema cannot be enforced: {name}"
                raise SchemaUnsupported(what, place[:200], f"keep numbers within {LARGEST}")
            if bound is not None and bound * inwards >= -LARGEST:
                found[name] = _shortened(bound, inwards)
    return found


def _shortened(bound: int | float, inwards: int) -> int | float:
    """A bound with no more digits than a float keeps; llguidance mistakes longer ones."""
    if isinstance(bound, int):
        return bound
    rounding = ROUND_CEILING if inwards > 0 else ROUND_FLOOR
    return float(Context(prec=_DIGITS, rounding=rounding).create_decimal(repr(bound)))


def _decimals(number: int | float) -> int:
    return max(0, -int(Decimal(repr(number)).normalize().as_tuple().exponent))


def _check_step(step: int | float, largest: int, place: str) -> int:
    """How many digits a step has after the point. Raises SchemaUnsupported if it has too many."""
    digits = _decimals(step)
    if digits > DECIMALS or Decimal(repr(step)).scaleb(digits) > largest:
        what = "the schema cannot be enforced: multipleOf"
        raise SchemaUnsupported(what, place[:200], f"use a step of which a power of ten makes {largest} or less")
    return digits

"""What a step came to, as it goes on record."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from store.records.canonical import Json, canonical, parse
from store.records.errors import BailiwickError, SettingsError
from store.records.labels import Labels

SAID = 200
"""Characters of a foreign error's message that are kept."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a step came to: its value, its labels, the fields of its event, and what an auditor may ask for.

    With `error` it failed after all, and the rest says what the failure cost and how it came about.
    """

    value: Json
    labels: Labels | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    detail: Json = None
    error: BailiwickError | None = None


def raised(error: Exception) -> Json:
    """What is kept, for an auditor only, of an error that is none of ours: its type, and how its message begins.

    A message may quote anything, so it goes into no line for the user and into nothing but the step's payload.
    """
    first = str(error).strip().partition("\n")[0]
    return {"type": type(error).__name__, "said": "".join(each if each.isprintable() else " " for each in first)[:SAID]}


def recordable(done: Done) -> Done:
    """What a step came to, as a replay will find it: with keys in another order, say. Raises SettingsError."""
    try:
        if type(done.value) is str:
            done.value.encode()  # a replay finds it as it is, if it can be kept
            return done
        return replace(done, value=parse(canonical(done.value)))
    except (ValueError, TypeError, RecursionError):
        raise SettingsError("the result of a step is not JSON that can be kept") from None

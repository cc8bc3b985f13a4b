"""What a run has to show for the values in its calls: the user's words, declared constants, trusted results."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from store.records.canonical import Json, canonical, parse

CONSTANT = "constant"


@dataclass(frozen=True)
class Grounds:
    """What trust in an argument can rest on. Without any, no argument is trusted.

    `words` are texts that the user typed into this runtime, never what they attached. `known` are single values, as
    canonical JSON, each with where it comes from: `constant`, or the tool that gave it.
    """

    words: tuple[str, ...] = ()
    known: dict[bytes, str] = field(default_factory=dict)

    def declaring(self, value: Json) -> "Grounds":
        """These, and every single value in a constant. Raises ValueError if it is not plain JSON."""
        declared = {canonical(leaf): CONSTANT for leaf in leaves(value)}
        return replace(self, known={**self.known, **declared})

    def learning(self, result: Json, source: str) -> "Grounds":
        """These, and the texts in a trusted result, but for those in a list of several: of many values, which one is
        meant would be the model's choice. Numbers and truth values say nothing without their place, and are left."""
        texts = (leaf for leaf in leaves(_single(result), keys=False) if isinstance(leaf, str))
        return replace(self, known={**{canonical(text): source for text in texts}, **self.known})

    def learned(self) -> Iterator[str]:
        """The texts that trusted results gave."""
        return (parse(value) for value, source in self.known.items() if source != CONSTANT)

    def source_of(self, leaf: Json) -> str:
        """Where a single value is known from; empty if it is not. Raises ValueError if it is not plain JSON."""
        return self.known.get(canonical(leaf), "")


NOTHING = Grounds()


def leaves(value: Json, *, keys: bool = True) -> Iterator[Json]:
    """Every single value in a JSON value, and every key of an object: who writes one may hide words in its keys.

    Null is no value. What is empty is one: to set something to nothing is to set it.
    """
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if keys:
                yield key
            yield from leaves(item, keys=keys)
    elif isinstance(value, list | tuple) and value:
        for item in value:
            yield from leaves(item, keys=keys)
    elif value is not None:
        yield value


def _single(value: Json) -> Json:
    """A result without its lists of several."""
    if isinstance(value, dict):
        return {key: _single(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_single(item) for item in value] if len(value) == 1 else None
    return value

"""What a user typed, read once: its tokens, its sentences and quotations, and where a value stands in it.

A value stands there whole: as a run of whole tokens that cuts no quotation apart, for a title in quotes is one thing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, lru_cache

from runtime.gate.provenance.dates import durations
from runtime.gate.provenance.tokens import AMOUNTS, Kind, Token, plain, tokens, written

Span = tuple[int, int]
"""The first token of a run, and the one after its last."""

_ENDS = frozenset(".!?…\n")
_PAUSES = frozenset(",;:")
_JOINS = frozenset(("and", "or", "then", "but", "also", "while"))
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "`": "`"}


@dataclass(frozen=True)
class Words:
    """One text that a user typed."""

    tokens: tuple[Token, ...]

    def runs(self, value: str) -> list[Span]:
        """Where a text stands in these words: all of its tokens in a row, with the same punctuation between them.

        At its ends it may have less of it than the words; one token that is no word has none at all.
        """
        wanted = tokens(value) if plain(value) else ()
        if len(wanted) == 1 and wanted[0].kind is not Kind.WORD and wanted[0].begins + wanted[0].ends:
            return []
        return [span for span in self.spans(wanted) if _alike(wanted, self.tokens[slice(*span)])]

    def spans(self, wanted: tuple[Token, ...]) -> list[Span]:
        """Where these tokens stand in a row, with no quotation cut apart."""
        if not wanted:
            return []
        starts = self._places.get(wanted[0].same, ())
        found = [(start, start + len(wanted)) for start in starts]
        same = [each.same for each in wanted]
        return [span for span in found if self._same[slice(*span)] == same and self._whole(span)]

    def of(self, kind: Kind) -> dict[str, list[Span]]:
        """The values of one kind, each with where it stands."""
        return self._kinds.get(kind, {})

    def phrases(self, longest: int = 8) -> Iterator[tuple[str, Span]]:
        """Every run of at most so many tokens that could be a name, as text and place."""
        for start in range(len(self.tokens)):
            for end in range(start + 1, min(start + longest, len(self.tokens)) + 1):
                if self.sentences[start] == self.sentences[end - 1] and self._whole((start, end)):
                    yield written(self.tokens[start:end]), (start, end)

    @cached_property
    def durations(self) -> frozenset[timedelta]:
        """How long the user said that something lasts."""
        return frozenset(durations([token.typed for token in self.tokens]))

    @cached_property
    def sentences(self) -> tuple[int, ...]:
        """For each token, the sentence that it is in."""
        return self._parted(lambda at: not _ENDS.isdisjoint(self.tokens[at - 1].ends))

    def clauses(self, parties: Iterable[tuple[str, Span]]) -> tuple[int, ...]:
        """For each token, the clause that it is in: a sentence, or if that speaks of several parties or of several
        numbers, what stands between its commas and conjunctions. `parties` are names and where they stand."""
        said: dict[int, set[str]] = {}
        counted: dict[int, set[str]] = {}
        for name, (start, _) in parties:
            said.setdefault(self.sentences[start], set()).add(name)
        for value, spans in (item for kind in AMOUNTS for item in self.of(kind).items()):
            for start, _ in spans:
                counted.setdefault(self.sentences[start], set()).add(value)
        divided = {sentence for each in (said, counted) for sentence, names in each.items() if len(names) > 1}

        def parts(at: int) -> bool:
            if self.sentences[at] != self.sentences[at - 1]:
                return True
            pause = not _PAUSES.isdisjoint(self.tokens[at - 1].ends) or self.tokens[at].value.lower() in _JOINS
            return pause and self.sentences[at] in divided

        return self._parted(parts)

    @cached_property
    def _kinds(self) -> dict[Kind, dict[str, list[Span]]]:
        found: dict[Kind, dict[str, list[Span]]] = {}
        for at, token in enumerate(self.tokens):
            if token.kind is not Kind.WORD and self._whole((at, at + 1)):
                found.setdefault(token.kind, {}).setdefault(token.value, []).append((at, at + 1))
        return found

    @cached_property
    def _same(self) -> list[tuple[Kind, str]]:
        return [token.same for token in self.tokens]

    @cached_property
    def _places(self) -> dict[tuple[Kind, str], list[int]]:
        found: dict[tuple[Kind, str], list[int]] = {}
        for at, token in enumerate(self.tokens):
            found.setdefault(token.same, []).append(at)
        return found

    @cached_property
    def _quoted(self) -> list[Span]:
        """The quotations, from the token that opens to the one that closes."""
        found = []
        opened: tuple[int, str] | None = None
        for at, token in enumerate(self.tokens):
            if opened is None and (mark := next((each for each in token.begins if each in _QUOTES), "")):
                opened = at, _QUOTES[mark]
            if opened is not None and opened[1] in token.ends:
                found.append((opened[0], at + 1))
                opened = None
        return found

    def _whole(self, span: Span) -> bool:
        """Whether a run holds each quotation wholly, or not at all."""
        return all(
            span[1] <= first or last <= span[0] or (span[0] <= first and last <= span[1])
            for first, last in self._quoted
        )

    def _parted(self, parts: Callable[[int], bool]) -> tuple[int, ...]:
        """For each token, the part it is in, if one begins wherever `parts` says so; but no quotation is parted."""
        inside = {at for first, last in self._quoted for at in range(first + 1, last)}
        found, part = [], 0
        for at in range(len(self.tokens)):
            part += at > 0 and at not in inside and parts(at)
            found.append(part)
        return tuple(found)


def _alike(value: Sequence[Token], typed: Sequence[Token]) -> bool:
    """Whether the same tokens have the same punctuation, and no other currency; a line end counts as a blank. Without a
    currency, numbers in a text are the same only if so are their fractions. What is *marked* on both sides is the same
    without the marks; but tmp* is not tmp."""
    for each, said in zip(value, typed, strict=True):
        if each.currency not in ("", said.currency) or (not said.currency and each.fraction != said.fraction):
            return False
    here, there = ([(each.begins, each.ends.replace("\n", "")) for each in side] for side in (value, typed))
    last = len(here) - 1
    if not there[0][0].endswith(here[0][0]) or not there[last][1].startswith(here[last][1]):
        return False
    marks = [(_marks(side[0][0]), _marks(side[last][1])) for side in (here, there)]
    if marks[0] != marks[1] and marks[1][0] != marks[1][1]:
        return False
    return all(
        (at == 0 or here[at][0] == there[at][0]) and (at == last or here[at][1] == there[at][1])
        for at in range(len(here))
    )


def _marks(punctuation: str) -> list[str]:
    """The marks of emphasis among it, sorted."""
    return sorted(each for each in punctuation if each in "*_")


@lru_cache(256)
def words(text: str) -> Words:
    """The words of a text; the last few texts are kept."""
    return Words(tokens(text))

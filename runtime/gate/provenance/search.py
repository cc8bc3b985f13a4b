"""The search for the values of one call in what a run has to show for them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from runtime.gate.provenance.dates import moment
from runtime.gate.provenance.directory import Directory
from runtime.gate.provenance.grounds import CONSTANT, Grounds
from runtime.gate.provenance.tokens import AMOUNTS, Kind, Token, number, plain, tokens
from runtime.gate.provenance.words import Span, Words, words
from store.records.canonical import Json

USER, DIRECTORY = "user", "directory"
PERSON, OBJECT, AMOUNT = "person", "object", "amount"
_PLAINLY = re.compile(r"\S+(?:(?: |\n{1,2})\S+)*")
_ADDRESSES = (Kind.EMAIL, Kind.ACCOUNT)

Spans = list[list[Span]]
"""For each text of the user's, where in it something stands."""
Halves = tuple[list[Span], list[Span]]
"""Where the date and the time of a moment stand."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a value was found. `source` is empty if it was found nowhere.

    `said` is where it stands in the user's words, if it does. `part` is what it is in the call as far as that matters
    for what goes with what: a person, an object, an amount; `value` then tells it from others of its kind. A person
    whom a trusted source told of, and no name in the user's words stands for, has no place in them.
    """

    source: str = ""
    said: tuple[tuple[Span, ...], ...] = ()
    part: str = ""
    value: str = ""


@dataclass
class Search:
    """The search for one call. `people` and `objects` are the directories; `values` all that the call is given."""

    grounds: Grounds
    people: Directory | None
    objects: Directory | None
    values: Sequence[Json]

    def find(self, value: Json, *, target: bool) -> Iterator[Found]:
        """Where one value comes from; a moment comes from two places. `target` says that it names the object acted on.

        Raises ValueError if the value is not plain JSON.
        """
        if self.grounds.source_of(value) == CONSTANT:
            yield Found(CONSTANT)
        elif target and self.objects is not None:
            yield self._named(self._objects, str(value), OBJECT)
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            yield Found()
        elif isinstance(value, str):
            yield from self._text(value)
        else:
            yield self._said((number(value),), [text.spans((number(value),)) for text in self._texts])

    def together(self, found: Sequence[Found]) -> bool:
        """Whether the user put these values together: either the call leaves no party and no amount out that they
        named, or one clause of theirs has all that it takes. A call that takes no party has nothing to mix up."""
        used = {part: {each.value for each in found if each.part == part} for part in (PERSON, OBJECT, AMOUNT)}
        if not used[PERSON] and not used[OBJECT]:
            return True
        named = {part: self._parties(part) for part, values in used.items() if values}
        if all(used[part] == parties.keys() for part, parties in named.items()):
            return True
        if not all(each.said for each in found):
            return False
        heads = {name: spans for part in named for name, spans in named[part].items()}
        for at, text in enumerate(self._texts):
            clauses = text.clauses([(name, span) for name, spans in heads.items() for span in spans[at]])
            if set.intersection(*(_clauses_of(clauses, each.said[at]) for each in found)):
                return True
        return False

    def _parties(self, part: str) -> dict[str, Spans]:
        """All of one kind that the user spoke of, those included of whom a name does not say which is meant; and the
        people whom trusted sources told of, who stand nowhere."""
        if part == AMOUNT:
            return self._typed(*AMOUNTS)
        if part == OBJECT:
            return self._resolved(self.objects, several=True)
        told: dict[str, Spans] = {
            _key(value): [[] for _ in self._texts] for value in self.grounds.learned() if _address(value)
        }
        return _merged(told, self._resolved(self.people, several=True), self._typed(*_ADDRESSES))

    def _text(self, value: str) -> Iterator[Found]:
        """A text: a moment, words in a row, or an address that somebody's name stands for."""
        if (at := moment(value)) is not None:
            yield from self._moment(at)
            return
        spaced, key = self._spaced(value), _key(value)
        runs = [text.runs(value) for text in self._texts] if spaced else []
        if any(runs) and _address(value):
            yield Found(USER, _kept(self._persons[key]), PERSON, key)
        elif any(runs):
            yield self._said(tokens(value), runs)
        elif spaced and key in self._persons:
            yield self._named(self._persons, key, PERSON)
        else:
            source = self.grounds.source_of(value)
            yield Found(source, part=PERSON if source and _address(value) else "", value=key)

    def _spaced(self, value: str) -> bool:
        """Whether the blanks in a text say nothing: as few as there can be, or all as the user typed them. Among more,
        whoever writes them could hide what they have read."""
        if _PLAINLY.fullmatch(value):
            return True
        return _address(value) is None and any(value in text for text in self.grounds.words)

    def _moment(self, at: datetime) -> Iterator[Found]:
        """A moment whose date and time the user typed in one sentence, or that is a duration they typed after one that
        the call has besides."""
        found = [_stands(text, at) or self._after(text, at) for text in self._texts]
        if not any(found):
            yield Found()
            return
        for half in (0, 1):
            yield Found(USER, tuple(tuple(each[half]) if each else () for each in found))

    def _after(self, text: Words, at: datetime) -> Halves | None:
        """Where a moment of this call stands in a text, that `at` is a typed duration after."""
        lasting = text.durations
        moments = (moment(value) for value in self.values if isinstance(value, str))
        earlier = (each for each in moments if each is not None and at - each in lasting)
        return next((found for each in earlier if (found := _stands(text, each))), None)

    def _said(self, wanted: tuple[Token, ...], runs: Spans) -> Found:
        """What stands in the user's words, or does not."""
        if not any(runs):
            return Found()
        amount = len(wanted) == 1 and wanted[0].kind in AMOUNTS
        return Found(USER, _kept(runs), *((AMOUNT, wanted[0].value) if amount else ()))

    def _named(self, names: dict[str, Spans], value: str, part: str) -> Found:
        """What a name in the user's words stands for, or does not."""
        return Found(DIRECTORY, _kept(names[value]), part, value) if value in names else Found()

    @cached_property
    def _texts(self) -> list[Words]:
        return [words(text) for text in self.grounds.words]

    @cached_property
    def _persons(self) -> dict[str, Spans]:
        """The people whom the user named, each by an address or account, typed or known."""
        return _merged(self._resolved(self.people), self._typed(*_ADDRESSES))

    @cached_property
    def _objects(self) -> dict[str, Spans]:
        return self._resolved(self.objects)

    def _typed(self, *kinds: Kind) -> dict[str, Spans]:
        """The values of these kinds that the user typed."""
        found: dict[str, Spans] = {}
        for at, text in enumerate(self._texts):
            for value, spans in (item for kind in kinds for item in text.of(kind).items()):
                found.setdefault(value, [[] for _ in self._texts])[at] += spans
        return found

    def _resolved(self, directory: Directory | None, *, several: bool = False) -> dict[str, Spans]:
        """What the names in the user's words stand for: those that stand for one thing, or with `several` for any."""
        found: dict[str, Spans] = {}
        if directory is None:
            return found
        for at, text in enumerate(self._texts):
            for name, span in text.phrases():
                values = directory.resolve(name)
                for value in values if several or len(values) == 1 else ():
                    found.setdefault(_key(value), [[] for _ in self._texts])[at].append(span)
        return found


def _stands(text: Words, at: datetime) -> Halves | None:
    """Where a moment's date and its time stand in one and the same sentence of a text."""
    days = text.of(Kind.DATE).get(at.date().isoformat(), [])
    times = text.of(Kind.TIME).get(at.time().isoformat(), [])
    shared = {text.sentences[start] for start, _ in days} & {text.sentences[start] for start, _ in times}
    if not shared:
        return None
    kept = [[span for span in half if text.sentences[span[0]] in shared] for half in (days, times)]
    return kept[0], kept[1]


def _key(value: str) -> str:
    """A value in the form in which it is compared: an address whatever its case, all else as it is."""
    typed = _address(value)
    return value if typed is None else typed.value


def _address(value: str) -> Token | None:
    """The address or account that a value is and nothing else; None if it is none."""
    found = tokens(value) if plain(value) else ()
    address = len(found) == 1 and found[0].kind in _ADDRESSES and not found[0].begins + found[0].ends
    return found[0] if address else None


def _clauses_of(clauses: Sequence[int], spans: Sequence[Span]) -> set[int]:
    """The clauses that hold one of these runs whole."""
    return {clauses[start] for start, end in spans if clauses[start] == clauses[end - 1]}


def _merged(first: dict[str, Spans], *others: dict[str, Spans]) -> dict[str, Spans]:
    """What stands where, by any of these."""
    found = dict(first)
    for name, spans in (item for other in others for item in other.items()):
        known = found.get(name, [[] for _ in spans])
        found[name] = [[*old, *new] for old, new in zip(known, spans, strict=True)]
    return found


def _kept(spans: Spans) -> tuple[tuple[Span, ...], ...]:
    return tuple(map(tuple, spans))

"""From where each consequential argument of a call comes, and whether that is enough to trust it.

The rules, for each single value (a list has many, an object has its keys besides):

- A constant of the workflow, or a text that a trusted source gave for trusted arguments, is trusted.
- A value that stands in the user's own words is: whole, by type. A moment stands there if its date and its time do, in
  one sentence; so does one that is a stated duration after a moment of the same call.
- What a name in the user's words stands for in a trusted directory is, if it stands for one thing only.
- Nothing else is; least of all a truth value, which anybody's words hold.

And for all of them together: where the user named several parties (people, accounts, objects) and a call takes some of
these and leaves others, or takes some of several amounts, its values must stand in one clause of the user's words, or
none of them is trusted: "10 to Ann and 20 to Ben" is no word for 20 to Ann.

What this cannot know: what the words mean. A call whose every value the user typed in one clause passes even if they
typed them for another reason, with a "not" before, or in an order that crosses ("Ann and Ben 10 and 20"); it may be
made more than once, unless a frozen plan shows that an untrusted list would say how often (labelled.py); and somebody
of whom no directory knows, and who goes by no address, is no party. Where that is too little, as with what cannot be
undone, policy asks a person all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.gate.provenance.directory import Directories
from runtime.gate.provenance.grounds import Grounds, leaves
from runtime.gate.provenance.search import Found, Search
from store.records.canonical import Json
from tools.record import ToolRecord

RECOMBINED = "recombined"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an argument comes from. `sources` are those of its values; `trusted` says that each of them counts."""

    argument: str
    trusted: bool
    sources: tuple[str, ...]

    def json(self) -> Json:
        """As plain JSON, for the ledger."""
        return {"argument": self.argument, "trusted": self.trusted, "sources": list(self.sources)}


def origins(
    record: ToolRecord,
    arguments: Mapping[str, Json],
    grounds: Grounds,
    directories: Directories,
    *,
    every: bool = False,
) -> tuple[Origin, ...]:
    """The origin of each consequential argument that a call has, by name; all are, of a tool that names none, and if
    `every` argument is asked for.

    Raises ValueError if an argument is not plain JSON.
    """
    values = {
        name: list(leaves(value))
        for name, value in sorted(arguments.items())
        if value is not None and (every or consequential(record, name))
    }
    search = Search(
        grounds, directories.people, directories.of(record.name), [x for each in values.values() for x in each]
    )
    found = {
        name: [part for leaf in several for part in search.find(leaf, target=name == record.target)]
        for name, several in values.items()
    }
    apart = not search.together([part for several in found.values() for part in several if part.said or part.part])
    return tuple(_origin(name, several, apart) for name, several in found.items())


def consequential(record: ToolRecord, argument: str) -> bool:
    """Whether an argument decides what a call does to the world: the tool says which do, or all do."""
    return not record.consequential or argument in (*record.consequential, record.target)


def _origin(name: str, found: Sequence[Found], apart: bool) -> Origin:
    sources = {RECOMBINED if apart and (part.said or part.part) else part.source for part in found}
    trusted = bool(found) and sources.isdisjoint(("", RECOMBINED))
    return Origin(name, trusted, tuple(sorted(sources - {""})))

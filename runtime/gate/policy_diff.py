"""What changes from one policy set to another: each kind of call whose decision is a different one.

Both sets judge every kind of call that either can tell apart. Nothing is sampled, and nothing is guessed from the text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.gate.decision import Decision
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy, examine
from runtime.gate.policy_domain import DIMENSIONS, Domain
from runtime.gate.policy_files import PolicyFile
from store.records.errors import SettingsError
from tools.record import ToolRecord

MOST_KINDS = 200_000
"""How many kinds of calls are looked at; each takes about half a millisecond."""

Box = tuple[frozenset[str], ...]
"""All combinations of some values of each dimension; ANY stands for all that there are."""

ANY: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Change:
    """Kinds of calls that were decided in one way and are in another: how many, by which policies before and after, and
    which: every combination of the values of each of `where`. A dimension that it does not name does not matter."""

    before: str
    after: str
    by_before: tuple[str, ...]
    by_after: tuple[str, ...]
    kinds: int
    where: tuple[dict[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Difference:
    """All changes, of how many kinds of calls that were looked at."""

    kinds: int
    changes: tuple[Change, ...]


@dataclass
class _Group:
    """The kinds with one decision before and another after: how many, and the boxes that they are in."""

    kinds: int = 0
    before: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)
    boxes: list[Box] = field(default_factory=list)


_Groups = dict[tuple[str, str], _Group]


def difference(
    old: Sequence[PolicyFile],
    new: Sequence[PolicyFile],
    records: Sequence[ToolRecord] | None = None,
    inventory: Inventory | None = None,
) -> Difference:
    """What changes from `old` to `new` for calls of these tools on this inventory; None: of any tools, on any.

    Raises SettingsError if a set cannot be loaded, or there are more kinds of calls than MOST_KINDS.
    """
    rules = [rule for files in (old, new) for rule in examine(files, None, inventory or Inventory())[0]]
    domain = Domain.of(rules, records, inventory)
    if domain.count > MOST_KINDS:
        what = f"the policies tell {domain.count} kinds of calls apart, more than the {MOST_KINDS} that are looked at"
        raise SettingsError(what, do="name the tools that matter: --tool NAME")
    found: _Groups = {}
    for world in domain.worlds:
        before, after = (Policy.of(files, world.records, domain.inventory, more_tools=True) for files in (old, new))
        for place, record in world.tools:
            for outcome, group in _changed(domain, record, before, after).items():
                whole = found.setdefault(outcome, _Group())
                whole.kinds += group.kinds
                whole.before |= group.before
                whole.after |= group.after
                tool = tuple(frozenset({value}) for value in place.values())
                whole.boxes += [(*tool, *box) for box in group.boxes]
    places = [place for world in domain.worlds for place, _ in world.tools]
    tools = {name: frozenset(place[name] for place in places) for name in places[0]} if places else {}
    return Difference(domain.count, tuple(_change(*outcome, found[outcome], tools) for outcome in sorted(found)))


def merged(boxes: Iterable[Box]) -> list[Box]:
    """Boxes that together hold exactly what these hold, as few as are found by joining those that differ in one
    dimension only. Boxes that are disjoint stay so."""
    known = list(boxes)
    while True:
        before = len(known)
        for place in range(len(known[0]) if known else 0):
            joined: dict[Box, set[frozenset[str]]] = {}
            for box in known:
                joined.setdefault((*box[:place], *box[place + 1 :]), set()).add(box[place])
            known = [
                (*rest[:place], ANY if ANY in values else frozenset().union(*values), *rest[place:])
                for rest, values in joined.items()
            ]
        if len(known) == before:
            return known


def _changed(domain: Domain, record: ToolRecord, before: Policy, after: Policy) -> _Groups:
    """The changes to calls of one tool. A dimension in which a box has all values that there are is ANY."""
    found: _Groups = {}
    kinds: dict[tuple[str, str], list[Box]] = {}
    for labels, call in domain.kinds(record):
        old, new = before.decide(call), after.decide(call)
        outcome = _outcome(old), _outcome(new)
        if outcome[0] != outcome[1]:
            group = found.setdefault(outcome, _Group())
            group.kinds += 1
            group.before.update(old.policies)
            group.after.update(new.policies)
            kinds.setdefault(outcome, []).append(tuple(frozenset({label}) for label in labels))
    full = list(domain.labels(record).values())
    for outcome, boxes in kinds.items():
        found[outcome].boxes = [
            tuple(ANY if has == every else has for has, every in zip(box, full, strict=True)) for box in merged(boxes)
        ]
    return found


def _change(before: str, after: str, group: _Group, tools: Mapping[str, frozenset[str]]) -> Change:
    names = (*tools, *DIMENSIONS)
    where = []
    for box in merged(group.boxes):
        matters = {name: has for name, has in zip(names, box, strict=True) if has not in (ANY, tools.get(name))}
        where.append({name: tuple(sorted(has)) for name, has in matters.items()})
    where.sort(key=lambda each: [(name, each[name]) for name in each])
    return Change(before, after, tuple(sorted(group.before)), tuple(sorted(group.after)), group.kinds, tuple(where))


def _outcome(decision: Decision) -> str:
    """What a decision comes to, in words: two that read alike are alike."""
    if decision.effect != "suspend":
        return decision.effect
    terms = decision.terms
    people = "a person" if terms.approvers == 1 else f"{terms.approvers} people"
    return f"suspend for {people}{', not who asked' if terms.distinct else ''}"

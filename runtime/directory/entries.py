"""What a directory file holds, before it is one: people and groups, each with the place where the file says so.

`whole` puts them together and refuses what contradicts itself. A group may lie in others; whoever is in it is in those.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
"""Names of users and tenants."""
MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
"""A mail address as RFC 5322 has it without quotes and comments: what people are really reached by."""
TEXT_CHARS = 128
LAST_UID = 2**32 - 2


class Flaw(Exception):
    """What is wrong with a directory, and where: in the reader's own terms, which it turns into a line."""

    def __init__(self, what: str, at: Any) -> None:
        super().__init__(what, at)
        self.what, self.at = what, at


@dataclass(frozen=True, slots=True)
class Group:
    """A group, and the groups that it lies in."""

    name: str
    within: tuple[str, ...] = ()
    at: Any = None


@dataclass(frozen=True, slots=True)
class Person:
    """A person. `groups` are those that the file names; `whole` adds the ones that these lie in, and sorts them."""

    name: str
    tenant: str
    unit: str = ""
    uid: int | None = None
    mail: tuple[str, ...] = ()
    display: str = ""
    groups: tuple[str, ...] = ()
    at: Any = None


def whole(people: Iterable[Person], groups: Iterable[Group]) -> dict[str, Person]:
    """The people by name, each with all groups. Raises Flaw for names or numbers that are no such, or given twice, for
    groups that there are not, and for groups that lie in themselves."""
    known = _groups(groups)
    above = _above(known)
    found: dict[str, Person] = {}
    uids: dict[int, str] = {}
    for person in people:
        _check(person)
        if person.name in found:
            raise Flaw(f"the user {person.name!r} is there twice", person.at)
        if person.uid is not None and uids.setdefault(person.uid, person.name) != person.name:
            raise Flaw(f"{person.name!r} has the uid {person.uid} of {uids[person.uid]!r}", person.at)
        for name in person.groups:
            if name not in known:
                raise Flaw(f"the user {person.name!r} is in a group {name!r} that there is not", person.at)
        all_groups = frozenset(person.groups).union(*(above[name] for name in person.groups))
        found[person.name] = replace(person, groups=tuple(sorted(all_groups)))
    return found


def _groups(groups: Iterable[Group]) -> dict[str, Group]:
    known: dict[str, Group] = {}
    for group in groups:
        if problem := text_problem(group.name):
            raise Flaw(f"the name of a group {problem}", group.at)
        if group.name in known:
            raise Flaw(f"the group {group.name!r} is there twice", group.at)
        known[group.name] = group
    for group in known.values():
        for name in group.within:
            if name not in known:
                raise Flaw(f"the group {group.name!r} lies in a group {name!r} that there is not", group.at)
    return known


def _above(known: Mapping[str, Group]) -> dict[str, frozenset[str]]:
    """All groups that each lies in. Without recursion: a chain may be as long as the file."""
    above: dict[str, frozenset[str]] = {}
    for start in known:
        path: list[str] = [start]
        while path:
            name = path[-1]
            missing = next((each for each in known[name].within if each not in above), None)
            if missing is None:
                above[name] = frozenset(known[name].within).union(*(above[each] for each in known[name].within))
                path.pop()
            elif missing in path:
                circle = " in ".join([*path[path.index(missing) :], missing])
                raise Flaw(f"a group lies in itself: {circle}", known[missing].at)
            else:
                path.append(missing)
    return above


def _check(person: Person) -> None:
    for what, name in (("user", person.name), ("tenant", person.tenant)):
        if not NAME.fullmatch(name):
            raise Flaw(f"{name[:TEXT_CHARS]!r} is no name for a {what}", person.at)
    for what, text in (("unit", person.unit), ("display name", person.display)):
        if text and (problem := text_problem(text)):
            raise Flaw(f"the {what} of {person.name!r} {problem}", person.at)
    if person.uid is not None and not 0 <= person.uid <= LAST_UID:
        raise Flaw(f"the uid of {person.name!r} is not from 0 to {LAST_UID}", person.at)
    for address in person.mail:
        if not MAIL.fullmatch(address):
            raise Flaw(f"{person.name!r} has a mail address that is none", person.at)


def text_problem(text: str) -> str:
    """Why a text cannot name something to people; empty if it can."""
    if not text or text != text.strip():
        return "is empty, or has spaces around it"
    if len(text) > TEXT_CHARS or not text.isprintable():
        return f"has more than {TEXT_CHARS} characters, or some that cannot be printed"
    return ""


def check_grants(grants: Mapping[str, Sequence[str]], roles: Iterable[str], groups: Iterable[str], at: Any) -> None:
    """Raise Flaw for a role that there is not, or a group that there is not. `at` is the place of the grants."""
    known = set(groups)
    for role, names in grants.items():
        if role not in roles:
            raise Flaw(f"no role is called {role!r}: there are {', '.join(roles)}", at(role))
        for name in names:
            if name not in known:
                raise Flaw(f"the role {role} is granted to a group {name!r} that there is not", at(role))

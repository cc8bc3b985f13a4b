"""What an exported directory's entries mean: the attributes of RFC 2307 and RFC 2798, and of Active Directory.

A person has a `uid` or `sAMAccountName`; a group lists its members by their distinguished names (`member`,
`uniqueMember`), by their user names (`memberUid`), or by its own number as somebody's primary group. Whoever's account
is locked is left out. Entries of other kinds are passed over.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime.directory.entries import Flaw, Group, Person
from runtime.directory.ldif import Entry, entries

PEOPLE = frozenset({"person", "inetorgperson", "posixaccount", "account", "user"})
GROUPS = frozenset({"groupofnames", "groupofuniquenames", "posixgroup", "group"})
DISABLED = 2
"""The bit of Active Directory's userAccountControl that says that an account is disabled."""
_SPLIT = re.compile(r"(?<!\\)[,+;]")


@dataclass
class Found:
    """People, locked accounts and groups of a file by their distinguished names, and groups' names by their numbers."""

    people: dict[str, Person] = field(default_factory=dict)
    locked: dict[str, str] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)


def read(data: bytes, tenant: str, unit: str) -> tuple[list[Person], list[Group]]:
    """The people and groups of an LDIF file; `tenant` and `unit` stand for those that the entries do not name.

    Raises Flaw, whose place is a line's number.
    """
    found, groups, accounts = Found(), [], []
    for entry in entries(data):
        kinds = {value.text.lower() for value in entry.values.get("objectclass", ()) if value.text}
        if kinds & GROUPS:
            groups.append(entry)
        elif kinds & PEOPLE and ("uid" in entry.values or "samaccountname" in entry.values):
            accounts.append(entry)
    for entry in groups:
        _take_group(found, entry)
    for entry in accounts:
        _take_person(found, entry, tenant, unit)
    member_of = _memberships(found, groups)
    people = [
        Person(p.name, p.tenant, p.unit, p.uid, p.mail, p.display, (*p.groups, *member_of.get(dn, ())), p.at)
        for dn, p in found.people.items()
    ]
    nested = [Group(g.name, tuple(member_of.get(dn, ())), g.at) for dn, g in found.groups.items()]
    return people, nested


def _take_group(found: Found, entry: Entry) -> None:
    dn = _normal(entry.dn)
    name = _one(entry, "cn")
    if name is None:
        raise Flaw("a group has no cn", entry.line)
    if dn in found.groups:
        raise Flaw("the group is there twice", entry.line)
    found.groups[dn] = Group(name, (), entry.line)
    if number := _one(entry, "gidnumber"):
        found.numbers[number] = name


def _take_person(found: Found, entry: Entry, tenant: str, unit: str) -> None:
    dn = _normal(entry.dn)
    if dn in found.people or dn in found.groups or dn in found.locked:
        raise Flaw("the entry is there twice", entry.line)
    name = _one(entry, "uid") or _one(entry, "samaccountname") or ""
    if _locked(entry):
        found.locked[dn] = name
        return
    number = _one(entry, "uidnumber")
    if number is not None and not (number.isascii() and number.isdigit()):
        raise Flaw("the uidNumber is no number", entry.values["uidnumber"][0].line)
    primary = found.numbers.get(_one(entry, "gidnumber") or "")
    found.people[dn] = Person(
        name=name,
        tenant=_one(entry, "o") or tenant,
        unit=_one(entry, "departmentnumber") or _first(entry, "ou") or unit,
        uid=None if number is None else int(number),
        mail=tuple(value.text or "" for value in entry.values.get("mail", ())),
        display=_first(entry, "displayname") or _first(entry, "cn") or "",
        groups=(primary,) if primary else (),
        at=entry.line,
    )


def _memberships(found: Found, groups: Sequence[Entry]) -> Mapping[str, list[str]]:
    """The groups that each entry is a member of, by its distinguished name. Raises Flaw for a member nobody knows."""
    by_name = {person.name: dn for dn, person in found.people.items()} | {name: dn for dn, name in found.locked.items()}
    member_of: dict[str, list[str]] = {}
    for entry in groups:
        name = found.groups[_normal(entry.dn)].name
        for attribute in ("member", "uniquemember"):
            for value in entry.values.get(attribute, ()):
                dn = _normal(value.text or "")
                if dn not in found.people and dn not in found.groups and dn not in found.locked:
                    raise Flaw(f"the group {name!r} has a member that is not in the file", value.line)
                member_of.setdefault(dn, []).append(name)
        for value in entry.values.get("memberuid", ()):
            if value.text not in by_name:
                raise Flaw(f"the group {name!r} has a member that is not in the file", value.line)
            member_of.setdefault(by_name[value.text], []).append(name)
    return member_of


def _locked(entry: Entry) -> bool:
    control = _one(entry, "useraccountcontrol") or "0"
    if not control.isdigit():
        raise Flaw("the userAccountControl is no number", entry.line)
    says = (_one(entry, "nsaccountlock") or "").lower() == "true" or "pwdaccountlockedtime" in entry.values
    return says or bool(int(control) & DISABLED)


def _one(entry: Entry, name: str) -> str | None:
    """The only value of an attribute, None if it has none. Raises Flaw if it has several, or one that is no text."""
    values = entry.values.get(name, [])
    if len(values) > 1:
        raise Flaw(f"the entry has more than one {name}", values[1].line)
    if values and not values[0].text:
        raise Flaw(f"the {name} is empty, or no text", values[0].line)
    return values[0].text if values else None


def _first(entry: Entry, name: str) -> str | None:
    return next((value.text for value in entry.values.get(name, ()) if value.text), None)


def _normal(dn: str) -> str:
    """A distinguished name as two of them are compared: without regard to case, and to spaces around its parts."""
    parts = [part.partition("=") for part in _SPLIT.split(dn)]
    return ",".join(f"{kind.strip()}={' '.join(value.split())}" for kind, _, value in parts).casefold()

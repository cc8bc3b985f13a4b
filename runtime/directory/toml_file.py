"""A directory that the site writes by hand, as TOML.

    [roles]
    approver = ["leads"]

    [groups.leads]
    within = ["staff"]

    [users.ann]
    uid = 1001
    mail = ["ann@example.org"]
    name = "Ann Smith"
    groups = ["leads"]
    unit = "plant-2"
    tenant = "acme"

Everything but the table of a user or a group may be left out. A key that it does not know is an error.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from runtime.directory.entries import Flaw, Group, Person

_USER: Mapping[str, type] = {"uid": int, "mail": list, "name": str, "groups": list, "unit": str, "tenant": str}
_GROUP: Mapping[str, type] = {"within": list}
_TABLES = ("roles", "groups", "users")
_SAID: Mapping[type, str] = {int: "a number", list: "a list of texts", str: "a text", dict: "a table"}


def read(text: str, tenant: str, unit: str) -> tuple[list[Person], list[Group], dict[str, list[str]]]:
    """People, groups, and the groups that grant each role. Raises Flaw, whose place is the path of a key, or a line."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"\(at line (\d+)", str(error))
        what = f"it is not TOML: {str(error).partition(' (at ')[0].lower()}"
        raise Flaw(what, int(line[1]) if line else text.count("\n") + 1) from None
    _check_keys(found, dict.fromkeys(_TABLES, dict), ())
    roles, groups, users = (found.get(name, {}) for name in _TABLES)
    for role in roles:
        _check_keys({role: roles[role]}, {role: list}, ("roles",))
    for name, given in groups.items():
        _check_table(given, _GROUP, ("groups", name))
    for name, given in users.items():
        _check_table(given, _USER, ("users", name))
    made = [Group(name, tuple(given.get("within", ())), ("groups", name)) for name, given in groups.items()]
    return [_person(name, given, tenant, unit) for name, given in users.items()], made, roles


def line_of(text: str, path: tuple[str, ...] | int) -> int:
    """The number of the line that makes the key at `path` known: the last one needed to read it, found by halving.

    Asked of the parser itself, so that a comment or a text that only looks like the key is none. A line stays itself.
    """
    if isinstance(path, int):
        return path
    lines = text.splitlines(keepends=True)
    low, high = 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _known(lines, middle, path) else (middle, high)
    return high


def _known(lines: list[str], most: int, path: tuple[str, ...]) -> bool:
    """Whether the longest beginning of at most so many lines that is TOML has a key."""
    for count in range(most, -1, -1):
        try:
            found: Any = tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        for key in path:
            if not isinstance(found, dict) or key not in found:
                return False
            found = found[key]
        return True
    return False


def _person(name: str, given: Mapping[str, Any], tenant: str, unit: str) -> Person:
    return Person(
        name=name,
        tenant=given.get("tenant", tenant),
        unit=given.get("unit", unit),
        uid=given.get("uid"),
        mail=tuple(given.get("mail", ())),
        display=given.get("name", ""),
        groups=tuple(given.get("groups", ())),
        at=("users", name),
    )


def _check_table(given: Any, known: Mapping[str, type], path: tuple[str, ...]) -> None:
    if not isinstance(given, dict):
        raise Flaw(f"{'.'.join(path)} is not a table", path)
    _check_keys(given, known, path)


def _check_keys(given: Mapping[str, Any], known: Mapping[str, type], path: tuple[str, ...]) -> None:
    for key, value in given.items():
        if key not in known:
            raise Flaw(f"there is no key {key!r} here: there are {', '.join(known)}", (*path, key))
        kind = known[key]
        if type(value) is not kind or (isinstance(value, list) and not all(isinstance(each, str) for each in value)):
            raise Flaw(f"{'.'.join((*path, key))} is not {_SAID[kind]}", (*path, key))

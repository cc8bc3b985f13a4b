"""Reading a directory from its file, whichever of the two forms it has: by its name, `.toml` or `.ldif`.

The file decides who may do what, so it must be one that nobody but this user and root can have written.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from runtime.directory import ldif_file, toml_file
from runtime.directory.directory import Directory
from runtime.directory.entries import Flaw, Group, Person, check_grants, whole
from runtime.folders import only_ours
from store.records.canonical import sha256
from store.records.errors import SettingsError
from store.records.identity import ROLES

MOST_BYTES = 64 << 20


def read(path: Path, *, tenant: str, unit: str, role_groups: Mapping[str, str]) -> Directory:
    """The directory in a file. `tenant` and `unit` are of those for whom it names none; `role_groups` names the group
    that grants each role where the file cannot (LDIF).

    Raises SettingsError with the file and the line of the first thing wrong, or if others could have written it.
    """
    data = _bytes(only_ours(path))
    line_of: Callable[[Any], int] = int
    try:
        match path.suffix.lower():
            case ".toml":
                text = _text(data)
                line_of = partial(toml_file.line_of, text)
                people, groups, grants = toml_file.read(text, tenant, unit)
                if role_groups:
                    what = "the directory says itself which groups grant roles, and so does the setting role_groups"
                    raise SettingsError(what, str(path), "leave one of them out")
            case ".ldif":
                people, groups = ldif_file.read(data, tenant, unit)
                grants = {role: [group] for role, group in role_groups.items()}
                _check_setting(grants, groups, path)
            case _:
                raise SettingsError("a directory's file is called .toml or .ldif", str(path), "rename it")
        return _made(path, data, people, groups, grants)
    except Flaw as flaw:
        raise SettingsError(flaw.what, f"{path}:{line_of(flaw.at)}", "correct it there") from None


def _made(
    path: Path, data: bytes, people: list[Person], groups: list[Group], grants: dict[str, list[str]]
) -> Directory:
    found = whole(people, groups)
    check_grants(grants, ROLES, [group.name for group in groups], lambda role: ("roles", role))
    return Directory(str(path), sha256(data), found, {role: frozenset(names) for role, names in grants.items()})


def _check_setting(grants: dict[str, list[str]], groups: list[Group], path: Path) -> None:
    """As check_grants, for grants that stand in the settings."""
    try:
        check_grants(grants, ROLES, [group.name for group in groups], lambda _: None)
    except Flaw as flaw:
        raise SettingsError(flaw.what, f"setting role_groups, directory {path}", "correct one of them") from None


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"the directory cannot be read: {error.strerror}", str(path), "check the path") from None
    if len(data) > MOST_BYTES:
        raise SettingsError(f"the directory is larger than {MOST_BYTES >> 20} MiB", str(path), "export fewer entries")
    return data


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Flaw("it is not UTF-8 text", data.count(b"\n", 0, error.start) + 1) from None

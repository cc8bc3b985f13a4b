"""A directory written by hand: what it says, and that every fault is one line with the file and the line's number."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.directory.directory import Directory
from runtime.directory.file import read
from store.records.errors import SettingsError

GOOD = """\
[roles]
requester = ["staff"]
approver = ["leads"]
auditor = ["audit"]

[groups.staff]
[groups.leads]
within = ["ops"]
[groups.ops]
within = ["staff"]
[groups.audit]

[users.ann]
uid = 1001
mail = ["ann@example.org", "a.smith@example.org"]
name = "Ann Smith"
groups = ["leads"]
unit = "Plant 2"
tenant = "acme"

[users.bob]
name = "Bob Stone"
mail = ["bob@example.org"]
groups = ["staff"]
"""
Load = Callable[..., Directory]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(text: str | bytes, name: str = "people.toml", **more: Any) -> Directory:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o600)
        return read(path, **{"tenant": "local", "unit": "", "role_groups": {}} | more)

    return loaded


def test_what_it_says_of_a_user(load: Load) -> None:
    directory = load(GOOD, unit="head-office")
    ann, bob = directory.named("ann"), directory.of_uid(1001)
    assert ann == bob
    assert ann is not None
    assert (ann.name, ann.uid, ann.tenant, ann.unit) == ("ann", 1001, "acme", "Plant 2")
    assert (ann.groups, ann.roles) == (("leads", "ops", "staff"), ("requester", "approver"))
    bob = directory.named("bob")
    assert bob is not None
    assert (bob.uid, bob.tenant, bob.unit, bob.roles) == (-1, "local", "head-office", ("requester",))


def test_nobody_else_is_in_it(load: Load) -> None:
    directory = load(GOOD)
    assert directory.named("eve") is None
    assert directory.of_uid(0) is None
    assert directory.of_uid(-1) is None  # bob has no number, and nobody can have this one


def test_a_name_stands_for_its_addresses_only_if_it_is_one_persons(load: Load) -> None:
    directory = load(GOOD)
    both = frozenset({"ann@example.org", "a.smith@example.org"})
    assert directory.resolve("ann") == directory.resolve("  ANN   smith ") == both
    assert directory.resolve("Smith") == directory.resolve("") == directory.resolve("ann@example.org") == frozenset()
    twice = load(GOOD + '[users.carl]\nname = "ann smith"\nmail = ["carl@example.org"]\n')
    assert twice.resolve("Ann Smith") == frozenset()
    assert twice.resolve("ann") == both


def test_the_digest_is_the_files(load: Load) -> None:
    assert load(GOOD).digest == load(GOOD).digest != load(GOOD + "\n").digest


BAD = {
    "no TOML": ("[users.ann]\nuid = \n", 2, "it is not TOML: invalid value"),
    "a user twice": ("[users.ann]\n[users.bob]\n[users.ann]\n", 3, "it is not TOML: cannot declare"),
    "a uid twice": ("[users.ann]\nuid = 7\n\n# [users.bob]\n[users.bob]\nuid = 7\n", 5, "'bob' has the uid 7 of 'ann'"),
    "an unknown group": ('[users.ann]\nuid = 7\n[users.bob]\ngroups = ["x"]\n', 3, "in a group 'x' that there is not"),
    "an unknown outer group": ('[groups.a]\n[groups.b]\nwithin = ["c"]\n', 2, "lies in a group 'c' that there is not"),
    "a group in itself": ('[groups.a]\nwithin = ["a"]\n', 1, "a group lies in itself: a in a"),
    "a circle": (
        '[groups.a]\nwithin = ["b"]\n[groups.b]\nwithin = ["c"]\n[groups.c]\nwithin = ["b"]\n',
        3,
        "a group lies in itself: b in c in b",
    ),
    "an unknown role": ('[groups.a]\n[roles]\nrequester = ["a"]\nowner = ["a"]\n', 4, "no role is called 'owner'"),
    "a role for an unknown group": ('[roles]\n\nadmin = ["a"]\n', 3, "granted to a group 'a' that there is not"),
    "an unknown table": ("[user.ann]\n", 1, "there is no key 'user' here: there are roles, groups, users"),
    "an unknown key": ("[users.ann]\nuid = 7\nemail = []\n", 3, "there is no key 'email' here"),
    "a uid that is text": ('[users.ann]\nuid = "7"\n', 2, "users.ann.uid is not a number"),
    "a uid that is true": ("[users.ann]\nuid = true\n", 2, "users.ann.uid is not a number"),
    "a uid below zero": ("[users.ann]\nuid = -1\n", 1, "the uid of 'ann' is not from 0"),
    "groups that are text": ('[users.ann]\ngroups = "a"\n', 2, "users.ann.groups is not a list of texts"),
    "a user that is text": ('[users]\nann = "x"\n', 2, "users.ann is not a table"),
    "a name with a slash": ('\n[users."../x"]\n', 2, "'../x' is no name for a user"),
    "a name that looks like another": ('[users."\u0430nn"]\n', 1, "is no name for a user"),
    "a tenant with a space": ('[users.ann]\ntenant = "a b"\n', 1, "is no name for a tenant"),
    "a unit with a line break": ('[users.ann]\nunit = "a\\nb"\n', 1, "some that cannot be printed"),
    "a mail address that is two": ('[users.ann]\nmail = ["a@b.org, c@d.org"]\n', 1, "a mail address that is none"),
    "no UTF-8": (b'[users.ann]\n[users.bob]\nname = "\xff"\n', 3, "it is not UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_fault_is_one_line_with_its_place(load: Load, tmp_path: Path, name: str) -> None:
    text, line, what = BAD[name]
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert what in caught.value.what
    assert caught.value.where == f"{tmp_path}/people.toml:{line}"
    assert "\n" not in str(caught.value)


def test_a_long_chain_of_groups_is_no_trouble(load: Load) -> None:
    chain = "".join(f'[groups.g{n}]\nwithin = ["g{n + 1}"]\n' for n in range(1500))
    directory = load(chain + '[groups.g1500]\n[users.ann]\ngroups = ["g0"]\n')
    ann = directory.named("ann")
    assert ann is not None
    assert len(ann.groups) == 1501


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_refused(load: Load, tmp_path: Path, mode: int) -> None:
    load(GOOD)
    (tmp_path / "people.toml").chmod(mode)
    with pytest.raises(SettingsError, match="others can write it"):
        read(tmp_path / "people.toml", tenant="local", unit="", role_groups={})


def test_a_file_of_somebody_elses_is_refused(load: Load, tmp_path: Path) -> None:
    load(GOOD)
    if os.getuid() == 0:
        os.chown(tmp_path / "people.toml", 65534, 65534)
        place = tmp_path / "people.toml"
    else:
        place = Path("/proc/1/environ")
    with pytest.raises(SettingsError, match=r"another user|cannot be read|called"):
        read(place, tenant="local", unit="", role_groups={})


def test_grants_stand_in_one_place(load: Load) -> None:
    with pytest.raises(SettingsError, match="leave one of them out"):
        load(GOOD, role_groups={"admin": "leads"})


def test_another_kind_of_file_is_refused(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"called \.toml or \.ldif"):
        load(GOOD, name="people.json")

"""An exported directory: RFC 2849 to the letter, what its entries mean, and every fault with its line."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.directory.directory import Directory
from runtime.directory.entries import Flaw
from runtime.directory.file import read
from runtime.directory.ldif import entries
from store.records.errors import SettingsError

SURNAME = base64.b64encode("Ann Müller".encode()).decode()
GOOD = f"""\
version: 1
# an export,
  with a folded comment

dn: dc=example,dc=org
objectClass: domain
dc: example

dn: cn=staff,ou=groups,dc=example,dc=org
objectClass: posixGroup
cn: staff
gidNumber: 500
memberUid: bob

dn: cn=leads,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: leads
member: UID=ann , ou=people,DC=example,dc=org

dn: cn=everybody,ou=groups,dc=example,dc=org
objectClass: groupOfUniqueNames
cn: everybody
uniqueMember: cn=leads,ou=groups,dc=example,
 dc=org
uniqueMember: cn=staff,ou=groups,dc=example,dc=org

dn: uid=ann,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ann
cn: Ann
displayName:: {SURNAME}
mail: ann@exam
 ple.org
mail: a.m@example.org
departmentNumber: Plant 2
o: acme
jpegPhoto:: /9j/4AAQ

dn: uid=bob,ou=people,dc=example,dc=org
objectClass: posixAccount
uid: bob
cn: Bob Stone
uidNumber: 1002
gidNumber: 500

dn: uid=old,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: old
nsAccountLock: TRUE
"""
GRANTS = {"requester": "everybody", "approver": "leads"}
Load = Callable[..., Directory]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(text: str | bytes, **more: Any) -> Directory:
        path = tmp_path / "export.ldif"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o600)
        return read(path, **{"tenant": "local", "unit": "ops", "role_groups": {}} | more)

    return loaded


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_an_export_says(load: Load, end: str) -> None:
    directory = load(GOOD.replace("\n", end), role_groups=GRANTS)
    ann, bob = directory.named("ann"), directory.of_uid(1002)
    assert ann is not None
    assert bob is not None
    assert (ann.tenant, ann.unit, ann.uid) == ("acme", "Plant 2", -1)
    assert (ann.groups, ann.roles) == (("everybody", "leads"), ("requester", "approver"))
    assert (bob.name, bob.tenant, bob.unit, bob.roles) == ("bob", "local", "ops", ("requester",))
    assert bob.groups == ("everybody", "staff")
    assert directory.resolve("ann müller") == {"ann@example.org", "a.m@example.org"}


def test_a_locked_account_is_none(load: Load) -> None:
    assert load(GOOD).named("old") is None
    directory = load("dn: cn=eve\nobjectClass: user\nsAMAccountName: eve\nuserAccountControl: 514\n")
    assert not directory.people


BAD = {
    "bad base64": ("dn: uid=a\nobjectClass: person\nuid: a\ncn:: %%%\n", 4, "the value of cn is not base64"),
    "base64 with a space in it": ("dn: uid=a\ncn:: QQ ==\n", 2, "not base64"),
    "cut base64": ("dn: uid=a\ncn:: QQ=\n", 2, "not base64"),
    "folded base64 is counted from its beginning": ("dn: uid=a\ncn:: Q\n Q\n =\n", 2, "not base64"),
    "a fold of nothing": (" dn: uid=a\n", 1, "nothing above that it continues"),
    "a fold after an empty line": ("dn: uid=a\n\n folded\n", 3, "nothing above that it continues"),
    "another version": ("version: 2\n", 1, "another version than 1"),
    "no dn": ("dn: uid=a\n\nuid: a\n", 3, "does not begin with its dn"),
    "two records run together": ("dn: uid=a\nuid: a\ndn: uid=b\n", 3, "not ended by an empty line"),
    "a change": ("dn: uid=a\nchangetype: delete\n", 2, "says what to change"),
    "another file": ("dn: uid=a\njpegPhoto:< file:///etc/shadow\n", 2, "lies in another file"),
    "no attribute": ("dn: uid=a\nnonsense\n", 2, "no attribute with a value"),
    "text outside the alphabet": ("dn: uid=a\ncn: Müller\n", 2, "must be written in base64"),
    "a user twice": (
        "dn: uid=a,o=x\nobjectClass: person\nuid: a\n\ndn: uid=a,o=y\nobjectClass: person\nuid: a\n",
        5,
        "the user 'a' is there twice",
    ),
    "an entry twice": (
        "dn: uid=a,o=x\nobjectClass: person\nuid: a\n\ndn: UID=A, o=x\nobjectClass: person\nuid: b\n",
        5,
        "the entry is there twice",
    ),
    "two user names": ("dn: uid=a\nobjectClass: person\nuid: a\nuid: b\n", 4, "more than one uid"),
    "a member nobody knows": ("dn: cn=g\nobjectClass: group\ncn: g\nmember: cn=x\n", 4, "not in the file"),
    "a member's name nobody has": ("dn: cn=g\nobjectClass: posixGroup\ncn: g\nmemberUid: x\n", 4, "not in the file"),
    "a group in itself": ("dn: cn=g\nobjectClass: group\ncn: g\nmember: cn=g\n", 1, "a group lies in itself: g in g"),
    "a number that is none": ("dn: uid=a\nobjectClass: person\nuid: a\nuidNumber: x1\n", 4, "uidNumber is no number"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_fault_is_one_line_with_its_place(load: Load, tmp_path: Path, name: str) -> None:
    text, line, what = BAD[name]
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert what in caught.value.what
    assert caught.value.where == f"{tmp_path}/export.ldif:{line}"
    assert "\n" not in str(caught.value)


def test_a_grant_to_a_group_that_is_not_exported(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"granted to a group 'x' that there is not \(setting role_groups"):
        load(GOOD, role_groups={"admin": "x"})


def test_a_value_of_a_mebibyte_is_unfolded_in_one_go() -> None:
    data = base64.b64encode(bytes(2**20))
    lines = b"\n ".join(data[at : at + 76] for at in range(0, len(data), 76))
    [entry] = entries(b"dn: uid=a\njpegPhoto:: " + lines + b"\ncn: a\n")
    assert entry.values["jpegphoto"][0].text == "\0" * 2**20
    assert entry.values["cn"][0].line == 2 + lines.count(b"\n") + 1


def test_whatever_the_bytes_it_is_entries_or_a_flaw() -> None:
    import random

    dice = random.Random(7)
    pieces = [b"dn:", b" ", b"\n", b"::", b"a", b"QQ==", b"\n\n", b"#", b"\r\n", b"\xff", b"version: 1", b";x", b"<"]
    for _ in range(3000):
        data = b"".join(dice.choices(pieces, k=dice.randrange(12)))
        line = 1
        try:
            list(entries(data))
        except Flaw as flaw:
            line = flaw.at
        assert 1 <= line <= data.count(b"\n") + 1

"""Who the people of a site are, as of now: a directory that changes while the runtime is up."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.identity import current_user
from runtime.people import People
from store.records.errors import Denied, SettingsError, Unreachable, UserGone
from store.records.identity import ROLES, User

ROLES_TOML = (
    '[roles]\nrequester = ["staff"]\napprover = ["leads"]\n[groups.staff]\n[groups.leads]\nwithin = ["staff"]\n'
)
ANN = '[users.ann]\nuid = 61001\ngroups = ["leads"]\n'
BOB = '[users.bob]\nuid = 61002\ngroups = ["staff"]\n'
IDLE = "[users.idle]\nuid = 61003\n"


class Site:
    """A directory file, and the people it makes."""

    def __init__(self, path: Path, service_user: str = "keeper") -> None:
        self.path = path
        self.write(ANN, BOB, IDLE)
        self.people = People(directory=path, service_user=service_user)

    def write(self, *users: str) -> None:
        aside = self.path.with_suffix(".new")
        aside.write_text(ROLES_TOML + "".join(users))
        aside.chmod(0o600)
        aside.replace(self.path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "people.toml")


def test_a_user_the_directory_does_not_have_is_refused_in_service_mode(site: Site) -> None:
    assert site.people.of_uid(61001).name == "ann"
    assert site.people.mode == "service"
    for refused in (os.geteuid(), 0, 12345, -1):
        with pytest.raises(Denied, match="does not know the user with the id"):
            site.people.of_uid(refused)
    with pytest.raises(Denied, match="does not know the user 'eve'"):
        site.people.named("eve")


def test_a_user_without_a_role_is_refused(site: Site) -> None:
    with pytest.raises(Denied, match="idle has no role here"):
        site.people.of_uid(61003)


def test_what_changes_in_the_file_counts_at_once(site: Site) -> None:
    assert site.people.knows("ann", "local")
    assert not site.people.knows("bob", "local")
    site.write(ANN.replace("leads", "staff"), BOB.replace("staff", "leads"))
    assert not site.people.knows("ann", "local")
    assert site.people.knows("bob", "local")
    assert site.people.of_uid(61001).roles == ("requester",)


def test_an_approver_of_one_tenant_is_none_of_another(site: Site) -> None:
    assert not site.people.knows("ann", "other")
    site.write(ANN + 'tenant = "other"\n')
    assert site.people.knows("ann", "other")
    assert not site.people.knows("ann", "local")


def test_a_directory_that_is_damaged_lets_nobody_in_until_it_is_put_right(site: Site) -> None:
    ann = site.people.of_uid(61001)
    site.write(ANN, "oops\n")
    with pytest.raises(SettingsError, match="it is not TOML"):
        site.people.of_uid(61001)
    with pytest.raises(Unreachable, match="who may do what is not known"):
        site.people.still(ann)
    with pytest.raises(Unreachable):
        site.people.knows("ann", "local")
    site.path.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        site.people.of_uid(61001)
    site.write(ANN)
    assert site.people.still(ann) == ann
    site.path.chmod(0o666)
    with pytest.raises(SettingsError, match="others can write it"):
        site.people.of_uid(61001)


def test_a_runs_user_keeps_at_most_what_they_began_it_with(site: Site) -> None:
    ann = site.people.of_uid(61001)
    assert site.people.still(ann) == ann
    less = replace(ann, roles=("requester",), groups=("staff",))
    assert site.people.still(less) == less
    site.write(ANN.replace("leads", "staff"))
    assert site.people.still(ann) == less


GONE = {
    "removed": (BOB,),
    "another person of that name": (ANN.replace("61001", "61009"),),
    "moved to another tenant": (ANN + 'tenant = "other"\n',),
    "no requester any more": ("[users.ann]\nuid = 61001\n",),
}


@pytest.mark.parametrize("how", GONE)
def test_a_user_who_is_gone_is_told_from_one_who_is_not(site: Site, how: str) -> None:
    ann = site.people.of_uid(61001)
    site.write(*GONE[how])
    with pytest.raises(UserGone, match="ann, on whose behalf the run goes"):
        site.people.still(ann)


def test_in_personal_mode_whose_runtime_it_is_comes_in_though_the_directory_has_others(tmp_path: Path) -> None:
    people = Site(tmp_path / "people.toml", service_user="").people
    me = current_user()
    assert people.of_uid(os.geteuid()) == me
    assert people.knows(me.name, me.tenant)
    assert people.still(me) == me
    assert people.of_uid(61001).name == "ann"
    with pytest.raises(Denied):
        people.of_uid(12345)


def test_without_a_directory_the_operating_system_says_who_somebody_is() -> None:
    me = current_user()
    people = People()
    assert people.of_uid(os.geteuid()) == people.named(me.name) == me
    assert me.roles == ROLES
    assert me.groups
    assert people.resolve(me.name) == frozenset()
    stranger = User("nobody-of-this-name", 4_000_000, "local", "x")
    assert people.still(stranger) == stranger  # personal mode: there is nobody else to ask for


def test_in_service_mode_without_a_directory_groups_of_the_system_grant_roles() -> None:
    me = current_user()
    people = People(service_user="keeper", role_groups={"auditor": me.groups[0]})
    assert people.of_uid(os.geteuid()).roles == ("auditor",)
    with pytest.raises(Denied, match="has no role here"):
        People(service_user="keeper").of_uid(os.geteuid())
    with pytest.raises(UserGone):
        people.still(replace(me, name="nobody-of-this-name"))


def test_whose_service_it_is_needs_no_place_in_the_directory_and_gets_no_role_by_it(tmp_path: Path) -> None:
    people = Site(tmp_path / "people.toml", service_user="keeper").people
    assert (people.holder.name, people.holder.uid, people.holder.roles) == ("keeper", os.geteuid(), ())
    assert People().holder == current_user()


def test_a_user_of_before_there_were_groups_can_still_be_read() -> None:
    kept = {"name": "ann", "uid": 7, "tenant": "t", "unit": "u", "roles": ["requester"]}
    assert User.parse(kept) == User("ann", 7, "t", "u", ("requester",), ())
    assert User.parse(kept).json() == kept
    user = User("ann", 7, "t", "u", ("requester",), ("staff",))
    assert User.parse(user.json()) == user

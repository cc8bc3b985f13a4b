"""A directory as it was read: users with their groups and roles, and the addresses that a name stands for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.directory.entries import Person
from store.records.identity import NO_UID, ROLES, User


@dataclass(frozen=True)
class Directory:
    """Everybody there is. `grants` names the groups that grant each role; `digest` is the SHA-256 of the file, hex."""

    place: str
    digest: str
    people: Mapping[str, Person]
    grants: Mapping[str, frozenset[str]]
    _uids: Mapping[int, str] = field(init=False, repr=False)
    _called: Mapping[str, frozenset[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        uids = {each.uid: each.name for each in self.people.values() if each.uid is not None}
        called: dict[str, frozenset[str]] = {}
        for each in self.people.values():
            for name in {_said(each.name), _said(each.display)} - {""}:
                called[name] = called.get(name, frozenset()) | {each.name}
        object.__setattr__(self, "_uids", uids)
        object.__setattr__(self, "_called", called)

    def named(self, name: str) -> User | None:
        """The user of this name, None if there is none."""
        person = self.people.get(name)
        if person is None:
            return None
        return User(
            name=person.name,
            uid=NO_UID if person.uid is None else person.uid,
            tenant=person.tenant,
            unit=person.unit,
            roles=tuple(role for role in ROLES if self.grants.get(role, frozenset()).intersection(person.groups)),
            groups=person.groups,
        )

    def of_uid(self, uid: int) -> User | None:
        """The user with this number, None if there is none."""
        return self.named(self._uids.get(uid, ""))

    def resolve(self, name: str) -> frozenset[str]:
        """The mail addresses of whom a user name or display name stands for, without regard to case or repeated spaces.

        Empty if nobody is called so, and also if more than one is: whom it means is then not known.
        """
        names = self._called.get(_said(name), frozenset())
        return frozenset(self.people[next(iter(names))].mail) if len(names) == 1 else frozenset()


def _said(name: str) -> str:
    """A name as people compare it."""
    return " ".join(name.split()).casefold()

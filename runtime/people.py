"""Who the people of this site are, as of now: from its directory if it has one, else from the operating system.

A directory is read again as soon as its file is another, and as a whole: one that cannot be used any more lets nobody
in until it is put right. What somebody may do is asked here when they do it, never remembered from before.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runtime.identity import user_of_name, user_of_uid
from store.records.errors import Denied, SettingsError, Unreachable, UserGone
from store.records.identity import NO_UID, User

if TYPE_CHECKING:
    from runtime.directory.directory import Directory

Mode = Literal["personal", "service"]
SYSTEM = "the operating system's users and groups"
FRESH_S = 1.0
"""For how long the operating system's word on somebody is taken: it may have to ask a server."""


@dataclass
class People:
    """The people of one site. Safe from any thread.

    `tenant` and `unit` are of those for whom the directory, or the operating system, names none; `role_groups` names
    the group that grants each role; `service_user` is the system user that a runtime in service mode runs as;
    `on_read` is told the digest of each directory that is read.
    """

    tenant: str = "local"
    unit: str = ""
    role_groups: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    service_user: str = ""
    on_read: Callable[[str], None] = lambda _: None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _read: "tuple[tuple[int, ...], Directory] | None" = field(default=None, repr=False)
    _asked: dict[str | int, tuple[float, User]] = field(default_factory=dict, repr=False)

    @property
    def mode(self) -> Mode:
        """Personal: one user, whose runtime it is. Service: whoever the directory, or a group, lets in."""
        return "service" if self.service_user else "personal"

    @property
    def sole(self) -> str:
        """The name of the only user there is, who therefore approves what they asked for: in personal mode, unless a
        directory or groups say that there may be other approvers. Empty if there may."""
        alone = self.mode == "personal" and self.directory is None and not self.role_groups
        return user_of_uid(os.geteuid(), tenant=self.tenant, unit=self.unit).name if alone else ""

    @property
    def holder(self) -> User:
        """Whose runtime it is, who answers for what it is started with. A service's system user need be no user of the
        site, and has no roles by holding it. Raises as `of_uid`."""
        if self.mode == "personal":
            return self.of_uid(os.geteuid())
        return User(self.service_user, os.geteuid(), self.tenant, self.unit, (), ())

    @property
    def source(self) -> str:
        """Where it is learned who somebody is."""
        return f"the directory {self.directory}" if self.directory else SYSTEM

    def now(self) -> "Directory | None":
        """The directory as its file is now; None: the site has none. Raises SettingsError if it cannot be used."""
        if self.directory is None:
            return None
        with self._lock:
            try:
                found = self.directory.stat()
            except OSError as error:
                self._read = None
                what = f"the directory cannot be read: {error.strerror}"
                raise SettingsError(what, str(self.directory), "check the path") from None
            mark = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if self._read is None or self._read[0] != mark:
                self._read = None
                from runtime.directory.file import read  # late: most sites have none

                made = read(self.directory, tenant=self.tenant, unit=self.unit, role_groups=self.role_groups)
                self._read = mark, made
                self.on_read(made.digest)
            return self._read[1]

    def of_uid(self, uid: int) -> User:
        """The user with a number, who calls. Raises Denied if the site does not know them, or they may do nothing;
        SettingsError if the directory cannot be used."""
        directory = self.now()
        user = directory.of_uid(uid) if directory else self._system(uid)
        if user is None and self.mode == "personal" and uid == os.geteuid():
            user = user_of_uid(uid, tenant=self.tenant, unit=self.unit)  # whose runtime it is
        if user is None:
            raise Denied(f"the site does not know the user with the id {uid}", self.source, "ask its admin")
        return _allowed(user, self.source)

    def named(self, name: str) -> User:
        """The user of a name. Raises as `of_uid`."""
        user = self._named(name)
        if user is None:
            raise Denied(f"the site does not know the user {name!r}", self.source, "ask its admin")
        return _allowed(user, self.source)

    def knows(self, name: str, tenant: str) -> bool:
        """Whether somebody is an approver of a tenant, now. Raises Unreachable if the directory cannot be used now."""
        user = self._certainly(name)
        return user is not None and user.tenant == tenant and "approver" in user.roles

    def resolve(self, name: str) -> frozenset[str]:
        """The trusted addresses of whom a user name or display name stands for: as Directory.resolve; none without
        one."""
        directory = self.now()
        return directory.resolve(name) if directory else frozenset()

    def still(self, user: User) -> User:
        """A run's user with at most the roles and groups that they began it with, and that they have now.

        Raises UserGone if they are no user of the site any more, or another person has their name, or they may not
        begin runs any more; Unreachable if the directory cannot be used now.
        """
        if self.directory is None and self.mode == "personal":
            return user
        now = self._certainly(user.name)
        if now is None or not _same(now, user):
            what = f"{user.name}, on whose behalf the run goes, is no user of {user.tenant}"
            raise UserGone(what, self.source, AGAIN)
        if "requester" in user.roles and "requester" not in now.roles:
            what = f"{user.name}, on whose behalf the run goes, has the role requester no more"
            raise UserGone(what, self.source, AGAIN)
        roles = tuple(role for role in user.roles if role in now.roles)
        return replace(user, roles=roles, groups=tuple(group for group in user.groups if group in now.groups))

    def _certainly(self, name: str) -> User | None:
        """As `_named`, for what is done without a caller: a directory that cannot be used is away, like a tool."""
        try:
            return self._named(name)
        except SettingsError as error:
            raise Unreachable(f"who may do what is not known: {error.what}", error.where, error.do) from None

    def _named(self, name: str) -> User | None:
        directory = self.now()
        user = directory.named(name) if directory else self._system(name)
        if user is None and directory and self.mode == "personal":
            owner = user_of_uid(os.geteuid(), tenant=self.tenant, unit=self.unit)
            return owner if owner.name == name else None
        return user

    def _system(self, who: str | int) -> User | None:
        """Whom the operating system knows by a name or number; None if it does not."""
        moment = time.monotonic()
        asked, user = self._asked.get(who, (0.0, None))
        if user is not None and moment - asked < FRESH_S:
            return user
        grants = self.role_groups if self.role_groups or self.mode == "service" else None
        try:
            if isinstance(who, str):
                user = user_of_name(who, tenant=self.tenant, unit=self.unit, role_groups=grants)
            else:
                user = user_of_uid(who, tenant=self.tenant, unit=self.unit, role_groups=grants)
        except SettingsError:
            self._asked.pop(who, None)
            return None
        self._asked[who] = moment, user
        return user


AGAIN = "once that is put right: `bailiwick resume`"


def _same(now: User, before: User) -> bool:
    """Whether two users of one name are one person: a name may be given again, and a person may move."""
    numbers = {now.uid, before.uid}
    return now.tenant == before.tenant and (len(numbers) == 1 or NO_UID in numbers)


def _allowed(user: User, source: str) -> User:
    if not user.roles:
        raise Denied(f"{user.name} has no role here", source, "ask the site's admin for one")
    return user

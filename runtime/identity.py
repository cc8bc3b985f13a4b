"""Who the operating system says somebody is: its word for a uid or a name, as a User.

The only sources are the uid that the kernel reports and the user and group databases; no environment variable and
nothing that the caller says about themselves.
"""

import grp
import os
import pwd
from collections.abc import Mapping

from store.records.errors import SettingsError
from store.records.identity import ROLES, User

__all__ = ["ROLES", "current_user", "user_of_name", "user_of_uid"]


def current_user(*, tenant: str = "local", unit: str = "", role_groups: Mapping[str, str] | None = None) -> User:
    """The user this process runs as (effective uid). Arguments and errors as for `user_of_uid`."""
    return user_of_uid(os.geteuid(), tenant=tenant, unit=unit, role_groups=role_groups)


def user_of_uid(
    uid: int, *, tenant: str = "local", unit: str = "", role_groups: Mapping[str, str] | None = None
) -> User:
    """The user with this uid. `unit` is the business unit; empty means the name of the user's primary group.

    `role_groups` names the operating-system group that grants each role (service mode). Without it (personal mode) the
    user who owns this process has every role and anybody else is a requester. Raises SettingsError for an unknown uid,
    and for a role that does not exist.
    """
    try:
        entry = pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        raise SettingsError(f"no user has the uid {uid}", do="add the user to the user database") from None
    return _user(entry, tenant, unit, role_groups)


def user_of_name(
    name: str, *, tenant: str = "local", unit: str = "", role_groups: Mapping[str, str] | None = None
) -> User:
    """The user of this name; otherwise as `user_of_uid`."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):  # a zero byte is no name
        raise SettingsError(f"no user is called {name!r}", do="add the user to the user database") from None
    return _user(entry, tenant, unit, role_groups)


def _user(entry: pwd.struct_passwd, tenant: str, unit: str, role_groups: Mapping[str, str] | None) -> User:
    groups = sorted({_group_name(gid) for gid in os.getgrouplist(entry.pw_name, entry.pw_gid)})
    return User(
        name=entry.pw_name,
        uid=entry.pw_uid,
        tenant=tenant,
        unit=unit or _group_name(entry.pw_gid),
        roles=_personal(entry.pw_uid) if role_groups is None else _granted(groups, role_groups),
        groups=tuple(groups),
    )


def _personal(uid: int) -> tuple[str, ...]:
    return ROLES if uid == os.geteuid() else ("requester",)


def _granted(groups: list[str], role_groups: Mapping[str, str]) -> tuple[str, ...]:
    unknown = sorted(set(role_groups) - set(ROLES))
    if unknown:
        raise SettingsError(f"no role is called {unknown[0]!r}", "role groups", f"use {', '.join(ROLES)}")
    return tuple(role for role in ROLES if role_groups.get(role, "") in groups)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)  # a group without a name still tells its members from others

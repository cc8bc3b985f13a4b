"""Identity: what the operating system says about a uid, and nothing else."""

import grp
import os
import pickle
import pwd
from collections.abc import Callable
from typing import Any

import pytest

from runtime.gate.call import ToolCall
from runtime.gate.errors import Suspended
from runtime.identity import ROLES, current_user, user_of_uid
from store.records.errors import SettingsError


def test_the_current_user_is_the_processs_and_has_every_role() -> None:
    user = current_user()
    entry = pwd.getpwuid(os.geteuid())
    assert (user.name, user.uid, user.tenant) == (entry.pw_name, os.geteuid(), "local")
    assert user.unit == grp.getgrgid(entry.pw_gid).gr_name
    assert user.roles == ROLES


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    before = current_user()
    for name in ("USER", "LOGNAME", "USERNAME", "HOME"):
        monkeypatch.setenv(name, "mallory")
    assert current_user() == before


def test_somebody_else_is_a_requester_only() -> None:
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid != os.geteuid())
    user = user_of_uid(other.pw_uid, tenant="acme", unit="plant-2")
    assert (user.name, user.tenant, user.unit, user.roles) == (other.pw_name, "acme", "plant-2", ("requester",))


def test_roles_come_from_groups_in_service_mode() -> None:
    mine = grp.getgrgid(pwd.getpwuid(os.geteuid()).pw_gid).gr_name
    assert current_user(role_groups={"approver": mine, "admin": "no-such-group"}).roles == ("approver",)
    assert current_user(role_groups={}).roles == ()
    with pytest.raises(SettingsError, match="no role is called 'owner'"):
        current_user(role_groups={"owner": mine})


@pytest.mark.parametrize("uid", [2**31 - 7, -5, 2**70])
def test_an_unknown_uid_is_nobody(uid: int) -> None:
    with pytest.raises(SettingsError, match=f"no user has the uid {uid}"):
        user_of_uid(uid)


def test_a_suspension_keeps_its_call_on_the_way_between_processes(call: Callable[..., ToolCall]) -> None:
    held: Any = Suspended(call("ops.rollback_config", suspended_by=("approval:rollback",)), "b" * 64)
    copy = pickle.loads(pickle.dumps(held))
    assert (copy.call, copy.binding, copy.policies) == (held.call, held.binding, held.policies)
    assert str(copy) == str(held)

"""Which role each verb of the gateway needs. One table, looked at for every request, with the caller's roles of now.

It says who may ask at all; what of it is theirs (a run, a tenant's log, an approval) is for the verb itself. A verb
that stands in no line is nobody's.
"""

from collections.abc import Mapping

from store.records.errors import Denied
from store.records.identity import ROLES, User

ANYBODY = frozenset(ROLES)
"""Whoever has any role here."""

_VERBS: Mapping[frozenset[str], str] = {
    ANYBODY: (
        "whoami users runs run events sql prove checkpoint storage follow status queues schedules approvals questions "
        "cancel pause resume signal reply retry halt change_schedule tokens revoke_token holds costs alerts "
        "budgets grants proposed_policy"
    ),
    frozenset({"requester"}): "submit fork add_schedule",
    frozenset({"approver"}): "answer settle propose_grant add_grant revoke_grant",
    frozenset({"approver", "admin"}): "release approve_policy",
    frozenset({"approver", "auditor", "admin"}): "policy",
    frozenset({"auditor"}): "verify export checkpoints destroyed",
    frozenset({"admin"}): "hold end_hold shred sweep backup stop issue_token set_budget propose_policy",
}
NEEDS: Mapping[str, frozenset[str]] = {verb: roles for roles, verbs in _VERBS.items() for verb in verbs.split()}
"""The roles of which a caller must have one, for each verb."""
AT_THE_SOCKET = frozenset({"issue_token"})
"""What no token lets anybody do: a token would never expire if it could have another one made."""


def check_verb(user: User, verb: str, *, by_token: bool = False) -> None:
    """Raise Denied unless the user has a role that the verb needs, or came the wrong way for it."""
    if by_token and verb in AT_THE_SOCKET:
        raise Denied(f"{verb} is not for who comes with a token", do="ask for it on the site's own machine")
    needed = NEEDS.get(verb, frozenset())
    if needed.isdisjoint(user.roles):
        wanted = " or ".join(role for role in ROLES if role in needed) or "which nobody has"
        raise Denied(f"{user.name} may not ask for {verb}", do=f"ask someone with the role {wanted}")


def check_role(user: User, role: str, what: str) -> None:
    """Raise Denied unless the user has a role; `what` it is for."""
    if role not in user.roles:
        raise Denied(f"{user.name} may not {what}", do=f"ask someone with the role {role}")


def check_reach(user: User, tenant: str, site: str) -> None:
    """Raise Denied unless this user's orders reach a tenant: their own, or any if theirs is the site's own tenant."""
    if user.tenant not in (tenant, site):
        what = f"{user.name} is of the tenant {user.tenant}, and that is {'the site' if tenant == site else tenant}'s"
        raise Denied(what, do=f"ask someone of the tenant {tenant}")

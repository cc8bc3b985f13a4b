"""Who may say yes, and how many people a number of yeses are. The one place where the gate asks about people.

A person counts once, however often they said it and through however many grants.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runtime.gate.call import Approval
from runtime.gate.terms import Terms
from store.records.identity import User

Knows = Callable[[str, str], bool]
"""Whether a name is that of somebody who may approve in a tenant."""


@dataclass(slots=True)
class People:
    """The approvers of a site. `sole` is the only user there is, in personal mode; empty if there may be others."""

    knows: Knows
    sole: str = ""

    def may(self, approval: Approval, requester: User, terms: Terms) -> bool:
        """Whether this yes counts for a call that `requester` asked for: of an approver of their tenant, as of now.

        Where who asked may not approve, only the sole user of a machine may, for there is nobody else; by their own
        word, never by a grant that they gave before.
        """
        if not self.knows(approval.approver, requester.tenant):
            return False
        own = terms.distinct and approval.approver == requester.name
        return not own or (approval.approver == self.sole and not approval.grant)

    def counted(self, approvals: Iterable[Approval], requester: User, terms: Terms) -> frozenset[str]:
        """The names of those whose yes counts."""
        return frozenset(each.approver for each in approvals if self.may(each, requester, terms))

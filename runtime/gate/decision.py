"""What a judge says about a call, apart from the engine that finds it."""

from dataclasses import dataclass
from typing import Literal, Protocol

from runtime.gate.call import ToolCall
from runtime.gate.terms import ONE, Terms

Ruling = Literal["allow", "deny", "suspend"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The ruling on one call under one version of the policy.

    `policies` are the @id names that decided: the permits of an allow, the forbids of a deny (none if nothing permitted
    the call), the approval policies of a suspend. `errors` are the engine's own words; with any, the ruling is deny.
    They may quote arguments, so they belong in payloads and never in a message or a log. `terms` are what the approval
    policies of a suspend ask for.
    """

    effect: Ruling
    policies: tuple[str, ...]
    policy_digest: str
    errors: tuple[str, ...] = ()
    terms: Terms = ONE


class Judge(Protocol):
    """Whoever decides. Deciding changes nothing and does no I/O."""

    @property
    def digest(self) -> str:
        """The version of the rules, hex SHA-256."""
        ...

    def why(self, policy: str) -> str:
        """Why a policy of this version is there, in the words of who wrote it; without any, its own text."""
        ...

    def decide(self, call: ToolCall) -> Decision:
        """The ruling. Never raises: what cannot be judged is denied."""
        ...

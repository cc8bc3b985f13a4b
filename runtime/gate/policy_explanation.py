"""Why a call is decided as it is: what was asked of the policies, what user and agent were each told, and the policies
that said it, in their own words.

It judges with the engine that runs, and shows what that answered; it has no opinion of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from runtime.gate.call import ToolCall
from runtime.gate.decision import Decision
from runtime.gate.policy import Policy
from runtime.gate.policy_schema import READS, WRITES, context, resource
from runtime.gate.rules import Rule
from store.records.canonical import Json
from tools.record import Effect


@dataclass(frozen=True)
class Part:
    """The ruling with one principal, the user or the agent. Where nothing permitted it, `silent` are the permits that
    are about such principals and actions, and whose conditions did not hold."""

    principal: str
    decision: Decision
    silent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """A decision, its parts, all policies that had a say or could have had, and what policies could see of the call."""

    decision: Decision
    parts: tuple[Part, ...]
    rules: tuple[Rule, ...]
    seen: Json

    def json(self) -> Json:
        """As plain JSON."""
        decision = self.decision
        terms = {"approvers": decision.terms.approvers, "distinct": decision.terms.distinct}
        return {
            "decision": decision.effect,
            "policies": list(decision.policies),
            "policy": decision.policy_digest,
            "errors": list(decision.errors),
            "terms": terms if decision.effect == "suspend" else None,
            "parts": [
                {
                    "principal": part.principal,
                    "decision": part.decision.effect,
                    "policies": list(part.decision.policies),
                    "silent": list(part.silent),
                }
                for part in self.parts
            ],
            "texts": {
                rule.name: {"effect": rule.effect, "where": rule.where, "reason": rule.reason, "text": rule.text}
                for rule in self.rules
            },
            "seen": self.seen,
        }


def explain(policy: Policy, call: ToolCall) -> Explanation:
    """Why a call is decided as it is under these policies. One that cannot be judged is denied, and has no parts."""
    decision = policy.decide(call)
    try:
        rulings = policy.parts(call)
        seen = {"resource": resource(call, policy.inventory), "context": context(call)}
    except Exception:  # what it is stands in the decision's errors
        return Explanation(decision, (), (), None)
    names = {"User": call.principal.user.name, "Agent": call.principal.agent.name}
    parts = tuple(
        Part(
            f"{kind} {names[kind]}",
            replace(each, policies=tuple(sorted(each.policies))),
            tuple(_silent(policy, kind, call)) if _nothing(each) else (),
        )
        for kind, each in rulings
    )
    told = {name for part in parts for name in (*part.decision.policies, *part.silent)} | set(decision.policies)
    return Explanation(decision, parts, tuple(rule for rule in policy.rules if rule.name in told), seen)


def _nothing(decision: Decision) -> bool:
    return decision.effect == "deny" and not decision.policies and not decision.errors


def _silent(policy: Policy, kind: str, call: ToolCall) -> Iterator[str]:
    """The permits whose head is about principals of this type and about this action."""
    record = call.record
    own = {record.name, READS if record.effect is Effect.READ else WRITES}
    for rule in policy.rules:
        principal, action = rule.body["principal"], rule.body["action"]
        types = {principal.get("entity_type"), principal.get("entity", {}).get("type")} - {None}
        named = [action["entity"]] if "entity" in action else action.get("entities")
        about = named is None or bool(own & {each["id"] for each in named})
        if rule.effect == "permit" and about and (not types or kind in types or types <= {"Role", "Unit", "Tenant"}):
            yield rule.name

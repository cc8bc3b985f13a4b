"""What calls of a tool can come to under a policy: the policy engine itself is asked about every kind of call.

A kind of call is who chose it, what it acts on, whether it was reviewed, the integrity and classification of what led
to it, and whether its arguments are trusted: finitely many. Arguments and the names of sources are not. A rule that
looks at these is taken to hold, and not to hold, wherever the rest of it does, so that the answer has all that can
happen and may have more. It decides nothing, records nothing and spends nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from runtime.gate.call import ToolCall
from runtime.gate.decision import Decision, Ruling
from runtime.gate.inventory import UNKNOWN, Inventory
from runtime.gate.policy import Policy, examine
from runtime.gate.policy_files import PolicyFile
from runtime.gate.provenance.origin import Origin
from runtime.gate.rules import APPROVAL, Rule
from runtime.gate.terms import Terms
from store.records.canonical import Json
from store.records.identity import Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels
from tools.record import ToolRecord

OPEN = frozenset({"args", "opaque", "untrusted_arguments", "sources"})
"""What policies may look at and no enumeration can go through."""
NOBODY = Terms(0)
"""What is asked for where nobody is asked."""
_FINITE: Mapping[str, tuple[str, ...]] = {
    "reviewed": ("yes", "no"),
    "integrity": ("trusted", "untrusted"),
    "vouched": ("yes", "no"),
    "classification": tuple(each.name.lower() for each in Classification),
}
_ORDER: tuple[Ruling, ...] = ("allow", "suspend", "deny")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What policy says: the ruling, the rules that decide it (of an allow, none are named; of a denial, those that
    would have asked for a person are not), what an approval takes."""

    ruling: Ruling
    policies: tuple[str, ...] = ()
    terms: Terms = NOBODY

    @classmethod
    def of(cls, decision: Decision) -> "Outcome":
        """The outcome in a decision."""
        match decision.effect:
            case "allow":
                return cls("allow")
            case "suspend":
                return cls("suspend", decision.policies, decision.terms)
            case _:
                return cls("deny", tuple(name for name in decision.policies if not name.startswith(APPROVAL)))


@dataclass(frozen=True, slots=True)
class Case:
    """Kinds of calls that come to the same. `when` has, of each property that makes a difference, the values that they
    have; several `outcomes` mean that it depends on the arguments."""

    when: Mapping[str, tuple[str, ...]]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Site:
    """For whom and for which workflow is asked, and what the site's inventory has."""

    user: User
    workflow: str
    workflow_version: int
    inventory: Inventory


@dataclass
class Reach:
    """The policies in `files` over the tools of `records`. Raises SettingsError as Policy.load does."""

    files: Sequence[PolicyFile]
    records: Sequence[ToolRecord]
    site: Site
    policy: Policy = field(init=False)
    _readings: list[Policy] = field(init=False)
    _rules: list[Rule] = field(init=False)

    def __post_init__(self) -> None:
        inventory = self.site.inventory
        self._rules, findings = examine(self.files, self.records, inventory)
        for finding in findings:
            if finding.problem:
                raise finding.error()
        self.policy = Policy(self.files, self._rules, self.records, inventory)
        self._readings = [Policy(self.files, each, self.records, inventory) for each in _readings(self._rules)]

    def of(self, record: ToolRecord, agents: Sequence[Agent]) -> list[Case]:
        """What calls of a tool can come to, when one of these agents chose it."""
        objects = _objects(record, self._rules, self.site.inventory)
        known = {agent.name: agent for agent in agents}
        domain = {"agent": tuple(known), "object": tuple(objects), **self._finite(record)}
        found = {
            (agent, acts_on, *rest): self._outcomes(self._call(record, known[agent], objects[acts_on], *rest))
            for agent, acts_on, *rest in product(*domain.values())
        }
        return list(_cases(list(domain), found))

    def _finite(self, record: ToolRecord) -> dict[str, tuple[str, ...]]:
        """The properties that a rule looks at. A local read is not reviewed, and nobody vouches for its arguments."""
        told = {name for name in _FINITE if any(_looks_at(rule.body, {name}) for rule in self._rules)}
        made = {name: values if name in told else values[-1:] for name, values in _FINITE.items()}
        return made | ({"reviewed": ("no",), "vouched": ("no",)} if record.local_read else {})

    def _outcomes(self, call: ToolCall) -> tuple[Outcome, ...]:
        """All that the rules can be read to say of one kind of call."""
        found = {Outcome.of(reading.decide(call)) for reading in self._readings}
        return tuple(sorted(found, key=lambda each: (_ORDER.index(each.ruling), each.policies)))

    def _call(
        self, record: ToolRecord, agent: Agent, named: str, reviewed: str, integrity: str, vouched: str, secrecy: str
    ) -> ToolCall:
        site = self.site
        return ToolCall(
            run="",
            step="",
            record=record,
            arguments={record.target: named} if record.target else {},
            principal=Principal(site.user, agent),
            labels=Labels(site.user.tenant, Classification[secrecy.upper()], Integrity[integrity.upper()]),
            workflow=site.workflow,
            workflow_version=site.workflow_version,
            reviewed=reviewed == "yes",
            origins=(Origin("*", vouched == "yes", ()),),
        )


def _cases(names: Sequence[str], found: Mapping[tuple[str, ...], tuple[Outcome, ...]]) -> Iterator[Case]:
    """The kinds of calls, put together where they come to the same: a decision tree, in the order of the properties,
    without the branches that make no difference."""
    outcomes = set(found.values())
    if len(outcomes) == 1:
        yield Case({}, outcomes.pop())
        return
    groups: list[tuple[list[str], dict[tuple[str, ...], tuple[Outcome, ...]]]] = []
    for value in dict.fromkeys(values[0] for values in found):
        rest = {values[1:]: each for values, each in found.items() if values[0] == value}
        same = next((group for group, other in groups if other == rest), None)
        if same is None:
            groups.append(([value], rest))
        else:
            same.append(value)
    for group, rest in groups:
        for case in _cases(names[1:], rest):
            yield replace(case, when={names[0]: tuple(group), **case.when}) if len(groups) > 1 else case


def _objects(record: ToolRecord, rules: Iterable[Rule], inventory: Inventory) -> dict[str, str]:
    """What a call may act on, as people call it and as it is called: each object that a rule names, of the others one
    of each kind, and something that is not in the inventory."""
    if not record.target:
        return {"nothing in the inventory": ""}
    named = {(kind, name) for rule in rules for kind, name in _entities(rule.body)}
    found: dict[str, str] = {}
    for kind, names in inventory.objects.items():
        found |= {f"{kind} {name}": name for name in sorted(set(names)) if (kind, name) in named}
        others = [name for name in sorted(set(names)) if (kind, name) not in named]
        found |= {f"{'another' if len(others) < len(set(names)) else 'a'} {kind}": name for name in others[:1]}
    found |= {f"{name}, not in the inventory": name for kind, name in sorted(named) if kind == UNKNOWN}
    stranger = "?"
    while inventory.kind_of(stranger) != UNKNOWN or (UNKNOWN, stranger) in named:
        stranger += "?"
    return {**found, "nothing in the inventory": stranger}


def _readings(rules: Sequence[Rule]) -> Iterator[list[Rule]]:
    """The rules, read in each way that matters: permits, forbids and approvals that look at what is open hold wherever
    they can, or nowhere. A permit more, a forbid or an approval less can only let more through."""
    kinds = {rule.name: "approval" if rule.approval else rule.effect for rule in rules if _looks_at(rule.body, OPEN)}
    every = sorted(set(kinds.values()))
    for holds in product((True, False), repeat=len(every)):
        holding = dict(zip(every, holds, strict=True))
        kept = [rule for rule in rules if rule.name not in kinds or holding[kinds[rule.name]]]
        yield [_widened(rule) if rule.name in kinds else rule for rule in kept]


def _widened(rule: Rule) -> Rule:
    """The rule without what it asks of that which is open: it holds at least wherever it held."""
    conditions = []
    for condition in rule.body["conditions"]:
        if not _looks_at(condition, OPEN):
            conditions.append(condition)
        elif condition["kind"] == "when":
            kept = [part for part in _parts(condition["body"]) if not _looks_at(part, OPEN)]
            conditions += [{"kind": "when", "body": part} for part in kept]
    return replace(rule, body={**rule.body, "conditions": conditions})


def _parts(body: Any) -> Iterator[Any]:
    """The expressions that all must be true for this one to be."""
    if isinstance(body, dict) and body.keys() == {"&&"}:
        yield from _parts(body["&&"]["left"])
        yield from _parts(body["&&"]["right"])
    else:
        yield body


def _looks_at(body: Json, names: Collection[str]) -> bool:
    """Whether an expression looks at one of these attributes of the context, or at the context as a whole."""
    if isinstance(body, list):
        return any(_looks_at(item, names) for item in body)
    if not isinstance(body, dict):
        return False
    if body == {"Var": "context"}:
        return True
    for operator in (".", "has"):
        if body.keys() == {operator} and body[operator].get("left") == {"Var": "context"}:
            return body[operator].get("attr") in names
    return any(_looks_at(item, names) for item in body.values())


def _entities(body: Json) -> Iterator[tuple[str, str]]:
    """Every entity that stands anywhere in a policy's JSON form."""
    if isinstance(body, dict):
        if isinstance(body.get("type"), str) and isinstance(body.get("id"), str):
            yield body["type"], body["id"]
        for item in body.values():
            yield from _entities(item)
    elif isinstance(body, list):
        for item in body:
            yield from _entities(item)

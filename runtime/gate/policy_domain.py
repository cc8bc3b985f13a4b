"""The kinds of calls that policies can tell apart: every combination of what they look at.

Tools, annotations, roles, agents, labels, review and inventory are finite, and enumerated whole, but for what no policy
looks at. Names, numbers and arguments are not: of these, each literal that a policy compares with stands for itself
(a number with its neighbours), and one more for all others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from runtime.gate.call import ToolCall
from runtime.gate.inventory import UNKNOWN, Inventory
from runtime.gate.policy_mentions import Mentions
from runtime.gate.policy_schema import READS, WRITES
from runtime.gate.provenance.origin import Origin
from runtime.gate.rules import Rule
from store.records.canonical import Json
from store.records.identity import NO_UID, ROLES, Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels
from tools.record import Effect, ToolRecord

AGENTS = ("worker", "rule", "core", "router", "reviewer")
ANOTHER = "another"
"""What stands for all names that no policy names."""
NONE = "-"
OTHER_TOOL = "other.tool"
TARGET = "target"
_OWN_TYPES = {"Action", "Agent", "Role", "Tenant", "Unit", "User", UNKNOWN}

DIMENSIONS = (
    *("roles", "user", "uid", "unit", "tenant", "agent", "agent version"),
    *("reviewed", "integrity", "classification", "sources", "workflow", "workflow version"),
    *("vouched", "acts on", "arguments"),
)
"""What calls of a tool differ in, in the order of `Domain.kinds`."""

Choice = tuple[str, Any]
"""A value of a dimension as a person reads it, and what it is in a call."""


@dataclass(frozen=True)
class World:
    """Tools that can be there at the same time, each with what it is in the dimensions that are about tools."""

    tools: tuple[tuple[dict[str, str], ToolRecord], ...]

    @property
    def records(self) -> tuple[ToolRecord, ...]:
        """The tools alone."""
        return tuple(record for _, record in self.tools)


@dataclass(frozen=True)
class Domain:
    """All kinds of calls that the policies of `mentions` tell apart."""

    mentions: Mentions
    worlds: tuple[World, ...]
    inventory: Inventory

    @classmethod
    def of(cls, rules: Sequence[Rule], records: Sequence[ToolRecord] | None, inventory: Inventory | None) -> "Domain":
        """The kinds of calls of these tools; without any, of a tool for each set of policies that name it, and of one
        that none names, each with every combination of annotations."""
        mentions = Mentions.of(rules)
        if inventory is None:
            kinds = {"Service", *mentions.entities} - _OWN_TYPES
            inventory = Inventory({kind: (*sorted(mentions.ids(kind)), f"{ANOTHER} {kind}") for kind in kinds})
        if records is not None:
            return cls(mentions, (World(tuple(({"tool": each.name}, each) for each in records)),), inventory)
        return cls(mentions, tuple(_any_tools(rules, mentions.texts("scopes"))), inventory)

    @property
    def count(self) -> int:
        """How many kinds there are."""
        return sum(prod(map(len, self._choices(tool).values())) for world in self.worlds for tool in world.records)

    def labels(self, record: ToolRecord) -> dict[str, frozenset[str]]:
        """What a call of a tool can be in each dimension, as people read it."""
        return {name: frozenset(label for label, _ in each) for name, each in self._choices(record).items()}

    def kinds(self, record: ToolRecord) -> Iterator[tuple[tuple[str, ...], ToolCall]]:
        """The kinds of calls of a tool: what each is in the dimensions of `labels`, in their order, and one of it."""
        choices = self._choices(record)
        for chosen in product(*choices.values()):
            values = {name: value for name, (_, value) in zip(choices, chosen, strict=True)}
            yield tuple(label for label, _ in chosen), _call(record, values)

    def _choices(self, record: ToolRecord) -> dict[str, list[Choice]]:
        """What a call of a tool can be in each dimension; one choice where no policy looks."""
        found = {**self._who(), **self._what(), **self._with(record)}
        return {name: found[name] for name in DIMENSIONS}

    def _who(self) -> dict[str, list[Choice]]:
        found = self.mentions
        roles = sorted({*found.ids("Role"), *(ROLES if "roles" in found.attributes else ())})
        several = [[role for role, has in zip(roles, held, strict=True) if has] for held in _subsets(roles)]
        agents = {*found.ids("Agent"), *found.texts("name")}
        any_agent = bool(agents) or found.of_attribute("agent")
        return {
            "roles": [(" + ".join(each) or "none of these", tuple(each)) for each in several],
            "user": _names({*found.ids("User"), *found.texts("name")}),
            "uid": [(NONE, NO_UID), *((str(n), n) for n in found.numbers("uid"))],
            "unit": _names({*found.ids("Unit"), *found.texts("unit")}),
            "tenant": _names({*found.ids("Tenant"), *found.texts("tenant")}),
            "agent": _names({*AGENTS, *agents}) if any_agent else [(NONE, AGENTS[0])],
            "agent version": _names(set(found.texts("version"))),
        }

    def _what(self) -> dict[str, list[Choice]]:
        found = self.mentions
        classes = list(Classification) if found.of_attribute("classification") else [Classification.INTERNAL]
        trust = list(Integrity) if found.of_attribute("integrity") else [Integrity.TRUSTED]
        sources = [(NONE, ()), *((text, (text,)) for text in found.texts("sources"))]
        return {
            "reviewed": [("yes", True), ("no", False)] if found.of_attribute("reviewed") else [(NONE, True)],
            "integrity": [(each.name.lower(), each) for each in trust],
            "classification": [(each.name.lower(), each) for each in classes],
            "sources": sources,
            "workflow": _names(set(found.texts("workflow"))),
            "workflow version": [(NONE, 0), *((str(n), n) for n in found.numbers("workflow_version"))],
        }

    def _with(self, record: ToolRecord) -> dict[str, list[Choice]]:
        found = self.mentions
        origins: list[Choice] = [(NONE, ())]
        if not record.local_read and (found.of_attribute("vouched") or found.of_attribute("untrusted_arguments")):
            parts = sorted({record.target or "argument", *found.texts("untrusted_arguments")})
            origins = [("yes", (Origin(parts[0], True, ()),))]
            origins += [("no arguments", ())] if found.of_attribute("untrusted_arguments") else []
            origins += [(f"not {part}" if len(parts) > 1 else "no", (Origin(part, False, ()),)) for part in parts]
        return {"vouched": origins, "acts on": self._objects(record), "arguments": self._arguments(record)}

    def _objects(self, record: ToolRecord) -> list[Choice]:
        named, inventory = self.mentions, self.inventory
        if not record.target or not (named.entities.keys() & {*inventory.kinds, UNKNOWN}):
            return [(NONE, None)]
        found: list[Choice] = [("unknown", "")]
        for kind in inventory.kinds:
            objects = inventory.objects.get(kind, ())
            special = sorted(named.ids(kind) & set(objects))
            others = [each for each in objects if each not in special][:1]
            found += [(f"{kind} {each}", each) for each in special]
            found += [(f"{kind} {ANOTHER}" if special else f"any {kind}", each) for each in others]
        return found

    def _arguments(self, record: ToolRecord) -> list[Choice]:
        """Each combination of the arguments that a policy looks at; one that nobody declared, if it asks for those."""
        properties = record.input_schema.get("properties", {})
        looked_at = [name for name in properties if name in self.mentions.attributes and name != record.target]
        values = [[None, *_values(properties[name], self.mentions, name)] for name in looked_at]
        found: list[Choice] = []
        for chosen in product(*values):
            given = {name: value for name, value in zip(looked_at, chosen, strict=True) if value is not None}
            found.append((", ".join(f"{name} {value!r}" for name, value in given.items()) or NONE, given))
        if self.mentions.of_attribute("opaque"):
            found.append(("one that policy cannot see", {"undeclared": 0}))
        return found


def _any_tools(rules: Sequence[Rule], scopes: Sequence[str]) -> Iterator[World]:
    """A world for each combination of annotations, and each of the scopes that policies name, with a tool for each set
    of policies that name it."""
    named = {name for rule in rules for name in rule.actions} - {READS, WRITES}
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(named):
        alike.setdefault(tuple(str(number) for number, rule in enumerate(rules) if name in rule.actions), []).append(
            name
        )
    schema = {"type": "object", "properties": {TARGET: {"type": "string"}}}
    asked = [(), *((scope,) for scope in scopes)]
    for effect, egress, irreversible, scope in product(Effect, (False, True), (False, True), asked):
        common: dict[str, Any] = {"effect": effect, "egress": egress, "irreversible": irreversible, "scopes": scope}
        place = {"effect": effect.value, "leaves": _yes(egress), "final": _yes(irreversible)}
        place["scopes"] = " ".join(scope) or NONE
        tools = []
        for names in [*alike.values(), [OTHER_TOOL]]:
            try:
                record = ToolRecord(name=names[0], input_schema=schema, target=TARGET, **common)
            except ValueError:  # no tool can be called that
                continue
            label = "any other" if names == [OTHER_TOOL] else ", ".join(names)
            tools.append(({"tool": label, **place}, record))
        yield World(tuple(tools))


def _call(record: ToolRecord, values: dict[str, Any]) -> ToolCall:
    user = User(values["user"], values["uid"], values["tenant"], values["unit"], values["roles"])
    arguments: dict[str, Json] = dict(values["arguments"])
    if values["acts on"] is not None:
        arguments[record.target] = values["acts on"]
    return ToolCall(
        run="",
        step="",
        record=record,
        arguments=arguments,
        principal=Principal(user, Agent(values["agent"], values["agent version"])),
        labels=Labels(values["tenant"], values["classification"], values["integrity"], values["sources"]),
        workflow=values["workflow"],
        workflow_version=values["workflow version"],
        reviewed=values["reviewed"],
        origins=values["vouched"],
    )


def _values(schema: dict[str, Any], mentions: Mentions, name: str) -> list[Json]:
    """Values of an argument that policies may tell apart, of its declared type."""
    match schema.get("type"):
        case "string":
            return [*mentions.texts(name), ANOTHER]
        case "integer":
            return list(mentions.numbers(name)) or [0]
        case "boolean":
            return [False, True]
        case "number":
            near = [round(float(text) + by, 4) for text in mentions.texts(name) for by in (-0.0001, 0.0, 0.0001)]
            return sorted(set(near)) or [0.0]
        case "array":
            return [[], *([text] for text in [*mentions.texts(name), ANOTHER])]
    return []


def _names(named: set[str]) -> list[Choice]:
    """These names and one that is none of them; only the latter if there are none."""
    return [*((name, name) for name in sorted(named)), (ANOTHER if named else NONE, ANOTHER)]


def _subsets(of: Sequence[str]) -> Iterator[tuple[bool, ...]]:
    return product((True, False), repeat=len(of))


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"

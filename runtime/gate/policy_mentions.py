"""What policies look at: the attributes, entities and literals that stand in them. What no policy looks at cannot
change a decision, so whoever enumerates kinds of calls, or keeps decisions, can leave it out.

Reads Cedar's JSON form of policies, and judges nothing.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from runtime.gate.rules import Rule
from store.records.canonical import Json, sha256

_ANYTHING = "x"
"""What stands for the wildcard of a pattern."""
_CONTEXT = {"Var": "context"}
_ARGUMENTS = {".": {"left": _CONTEXT, "attr": "args"}}
_DECIMALS = {"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"}
_COMPARES = {"==", "!=", "<", "<=", ">", ">=", "contains", "containsAll", "containsAny", "like", *_DECIMALS}


@dataclass
class Mentions:
    """What stands in some policies.

    `attributes` are the names after a dot or `has`; `entities` the ids that are named, by type, with those of types
    that are only named after `is`; `literals` are, by attribute, the texts and numbers that it is compared with.
    `whole` says that the context or the arguments in it are used as a whole, or in a way that is not known here, so
    that anything in them may count.
    """

    attributes: set[str] = field(default_factory=set)
    entities: dict[str, set[str]] = field(default_factory=dict)
    literals: dict[str, set[str | int]] = field(default_factory=dict)
    whole: bool = False

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> "Mentions":
        """What stands in these policies."""
        found = cls()
        for rule in rules:
            found._look(rule.body)
        return found

    def of_attribute(self, name: str) -> bool:
        """Whether a decision may depend on an attribute."""
        return self.whole or name in self.attributes

    def seen(self, resource: Json, context: Json) -> str:
        """The hex SHA-256 of what the policies see of a request's resource and context: two requests in which this is
        the same, like principal and action, are decided alike. Only equality tells two resources of a type apart, for
        they have neither attributes nor parents."""
        named = [resource["id"]] if resource["id"] in self.ids(resource["type"]) else []
        looked_at = {name: value for name, value in context.items() if self.of_attribute(name)}
        if "args" in looked_at:
            looked_at["args"] = {name: value for name, value in context["args"].items() if self.of_attribute(name)}
        return sha256(json.dumps([resource["type"], named, looked_at]).encode())

    def ids(self, type: str) -> set[str]:
        """The entities of a type that are named."""
        return self.entities.get(type, set())

    def texts(self, attribute: str) -> list[str]:
        """The texts that an attribute is compared with, sorted."""
        return sorted(each for each in self.literals.get(attribute, ()) if isinstance(each, str))

    def numbers(self, attribute: str) -> list[int]:
        """The whole numbers that an attribute is compared with, and their neighbours, sorted."""
        return sorted({n + by for n in self.literals.get(attribute, ()) if isinstance(n, int) for by in (-1, 0, 1)})

    def _look(self, body: Json) -> None:
        if isinstance(body, list):
            for each in body:
                self._look(each)
            return
        if not isinstance(body, dict):
            return
        if isinstance(body.get("type"), str) and isinstance(body.get("id"), str):
            self.entities.setdefault(body["type"], set()).add(body["id"])
        if isinstance(body.get("entity_type"), str):
            self.entities.setdefault(body["entity_type"], set())
        self.whole |= body in (_CONTEXT, _ARGUMENTS)
        for key, value in body.items():
            if key in _COMPARES:
                self._compared(value)
            asked = key in (".", "has")
            if asked and not (isinstance(value, dict) and isinstance(value.get("attr"), str)):
                self.whole = True
            elif asked:
                self.attributes.add(value["attr"])
                self._look_within(value["left"])
                continue
            self._look(value)

    def _look_within(self, body: Json) -> None:
        """Look at what an attribute is asked of. Context and arguments are not used as a whole there."""
        if body == _ARGUMENTS:
            self.attributes.add("args")
        elif body != _CONTEXT:
            self._look(body)

    def _compared(self, operands: Json) -> None:
        """Have every attribute in a comparison be compared with every literal in it."""
        literals = set(_literals(operands))
        for name in set(_attributes(operands)):
            self.literals.setdefault(name, set()).update(literals)


def _attributes(body: Json) -> Iterator[str]:
    if isinstance(body, dict):
        if isinstance(body.get("attr"), str):
            yield body["attr"]
        for each in body.values():
            yield from _attributes(each)
    elif isinstance(body, list):
        for each in body:
            yield from _attributes(each)


def _literals(body: Json) -> Iterator[str | int]:
    """The texts and whole numbers in a part of a policy; for a pattern, a text that it is like."""
    if isinstance(body, list):
        for each in body:
            yield from _literals(each)
    elif isinstance(body, dict):
        value = body.get("Value")
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield value
        if isinstance(body.get("pattern"), list):
            yield "".join(_ANYTHING if each == "Wildcard" else each["Literal"] for each in body["pattern"])
        for each in body.values():
            yield from _literals(each)

"""One policy, read: its name, what it does, and the site's own rules about how policies are written.

Every policy has a name, for a decision that cannot say what decided is worth nothing. Knows no engine.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime.gate.policy_files import Statement
from runtime.gate.policy_schema import READS, WRITES
from store.records.canonical import Json
from store.records.errors import SettingsError

APPROVAL = "approval:"
_NAME = re.compile(r"[a-z0-9][a-z0-9._:-]{0,99}\Z")


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy. `name` is its @id, `body` its form as JSON, `actions` the tools that it names."""

    name: str
    effect: str
    where: str
    text: str = field(repr=False)
    body: Json = field(repr=False)
    actions: frozenset[str] = frozenset()

    @property
    def approval(self) -> bool:
        """Whether its forbid asks for a person instead of closing the door."""
        return self.name.startswith(APPROVAL)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found at `where` (file:line): a policy that is fine, or with `problem` one that is not."""

    where: str
    name: str = ""
    effect: str = ""
    problem: str = ""
    do: str = ""

    def error(self) -> SettingsError:
        """The finding as the error that stops a load."""
        return SettingsError(self.problem, self.where, self.do)


def rule(statement: Statement, parsed: Json) -> Rule:
    """The rule in a statement, from Cedar's JSON form of it. Raises SettingsError if it breaks a habit of the house."""
    where = statement.where
    if parsed["templates"]:
        raise SettingsError("a policy template decides nothing by itself", where, "write the policy out")
    if len(parsed["staticPolicies"]) != 1:
        raise SettingsError("one policy was expected here", where, "end every policy with a semicolon")
    (body,) = parsed["staticPolicies"].values()
    name = body.get("annotations", {}).get("id") or ""
    if not name:
        raise SettingsError("a policy has no name", where, 'put @id("some-name") before it')
    if not _NAME.match(name):
        raise SettingsError("a policy's @id is not a plain name", where, "use small letters, digits, and . _ : -")
    if name.startswith(APPROVAL) and body["effect"] != "forbid":
        raise SettingsError(f"{name} is a permit", where, "an approval policy must be a forbid")
    actions = frozenset(_actions(body)) - {READS, WRITES}
    return Rule(name, body["effect"], where, statement.text, body, actions)


def _actions(body: Json) -> Iterator[str]:
    """The id of every action entity that stands anywhere in a policy's JSON form."""
    if isinstance(body, dict):
        if body.get("type") == "Action" and isinstance(body.get("id"), str):
            yield body["id"]
        for item in body.values():
            yield from _actions(item)
    elif isinstance(body, list):
        for item in body:
            yield from _actions(item)

"""One policy, read: its name, what it does, and the site's own rules about how policies are written.

Every policy has a name, for a decision that cannot say what decided is worth nothing. Knows no engine.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime.gate.policy_files import Statement
from runtime.gate.policy_schema import READS, WRITES
from runtime.gate.terms import ONE, Terms
from store.records.canonical import Json
from store.records.errors import SettingsError

APPROVAL = "approval:"
REASON_CHARS = 300
_NAME = re.compile(r"[a-z0-9][a-z0-9._:-]{0,99}\Z")
_APPROVERS = re.compile(r"[1-9]\Z")
_KNOWN = {"id", "approvers", "distinct", "reason"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy. `name` is its @id, `body` its form as JSON, `actions` the tools that it names.

    An approval policy says with @approvers("2") how many people must agree, and with @distinct("requester") that who
    asked cannot be one of them: its `terms`. `reason` is what its @reason says.
    """

    name: str
    effect: str
    where: str
    text: str = field(repr=False)
    body: Json = field(repr=False)
    actions: frozenset[str] = frozenset()
    terms: Terms = ONE
    reason: str = ""

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
    terms, reason = _annotated(name, body["annotations"], where)
    actions = frozenset(_actions(body)) - {READS, WRITES}
    return Rule(name, body["effect"], where, statement.text, body, actions, terms, reason)


def _annotated(name: str, annotations: dict[str, str | None], where: str) -> tuple[Terms, str]:
    """The terms and the reason in a policy's annotations. Raises SettingsError for one that nobody would read: a slip
    must not have a call go through on fewer words than were meant."""
    if unknown := sorted(annotations.keys() - _KNOWN):
        raise SettingsError(
            f"{name} has an annotation @{unknown[0]}", where, f"there are @{', @'.join(sorted(_KNOWN))}"
        )
    terms = annotations.keys() & {"approvers", "distinct"}
    if terms and not name.startswith(APPROVAL):
        raise SettingsError(f"{name} asks for no approval, and says from whom", where, f"begin its @id with {APPROVAL}")
    approvers = annotations.get("approvers", "1") or ""
    if not _APPROVERS.match(approvers):
        raise SettingsError(f"the @approvers of {name} is no number of people", where, 'write "1" to "9"')
    if "distinct" in annotations and annotations["distinct"] != "requester":
        raise SettingsError(f"the @distinct of {name} is nobody", where, 'write @distinct("requester")')
    reason = annotations.get("reason", "")
    if "reason" in annotations and not (reason and reason.isprintable() and len(reason) <= REASON_CHARS):
        what = f"the @reason of {name} is not one line of at most {REASON_CHARS} characters"
        raise SettingsError(what, where, "say it shorter")
    return Terms(int(approvers), "distinct" in annotations), reason or ""


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

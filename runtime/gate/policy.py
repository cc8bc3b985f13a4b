"""The policy engine: Cedar, parsed and validated once, asked for every call. The only door to cedarpy.

Nothing is allowed that no policy permits. Cedar itself skips a policy that fails to evaluate, so that a failing forbid
would open the door; here any error, of any policy, denies. User and agent are asked about separately and both must be
permitted, so that neither can lend the other a right (Hardy, The Confused Deputy, 1988).

A decision follows from what the policies look at and from nothing else. So it is kept, and is that of every later call
in which they see the same; one that was an error is found out again.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cedarpy

from runtime.gate.call import ToolCall
from runtime.gate.decision import Decision, Ruling
from runtime.gate.inventory import Inventory
from runtime.gate.policy_files import PolicyFile, policy_files, statements
from runtime.gate.policy_mentions import Mentions
from runtime.gate.policy_schema import context, entities, resource, schema, uid
from runtime.gate.rules import Finding, Rule, rule
from runtime.gate.terms import Terms
from store.records.canonical import Json, digest
from store.records.errors import SettingsError
from store.records.identity import Principal
from tools.record import ToolRecord

_ENTITIES_KEPT = 64
_DECISIONS_KEPT = 1024
_SEVERITY: dict[Ruling, int] = {"allow": 0, "suspend": 1, "deny": 2}


class Policy:
    """The rules of a site over the tools that are there."""

    def __init__(
        self, files: Sequence[PolicyFile], rules: Sequence[Rule], records: Sequence[ToolRecord], inventory: Inventory
    ) -> None:
        """Use `load`. The rules have been examined and are known to fit records and inventory."""
        described = _schema(rules, records, inventory)
        self._schema = cedarpy.Schema.from_json_str(json.dumps(described))
        self._all = _policy_set(rules)
        self._without_approvals = _policy_set([each for each in rules if not each.approval])
        self._approvals = {each.name: each.terms for each in rules if each.approval}
        self._why = {each.name: each.reason or each.text for each in rules}
        self._tools = {record.name: record.digest for record in records}
        self._inventory = inventory
        self.rules = tuple(rules)
        self.files = tuple(files)
        self.records = tuple(records)
        self._entities: dict[Principal, cedarpy.Entities] = {}
        self._mentions = Mentions.of(rules)
        self._decided: dict[tuple[Principal, str, str], Decision] = {}
        self.policy_names = tuple(sorted(each.name for each in rules))
        texts = [[Path(file.path).name, file.text] for file in files]
        objects = {kind: list(names) for kind, names in inventory.objects.items()}
        self._digest = digest({"policies": texts, "schema": described, "inventory": objects})

    @classmethod
    def load(
        cls,
        source: str | Path | Sequence[Path],
        records: Iterable[ToolRecord],
        inventory: Inventory | None = None,
    ) -> "Policy":
        """The policies of a shipped set (by name), a folder or files, for these tools.

        Raises SettingsError, naming file and line, if one cannot be read, does not parse, has no name or another's,
        does not fit the schema, or forbids a tool that is not there and that no permit names.
        """
        return cls.of(policy_files(source), records, inventory)

    @classmethod
    def of(
        cls,
        files: Sequence[PolicyFile],
        records: Iterable[ToolRecord],
        inventory: Inventory | None = None,
        *,
        more_tools: bool = False,
    ) -> "Policy":
        """The policies in texts that have been read. Raises SettingsError as `load`; with `more_tools`, for which these
        are not all the tools that there are, also a forbid may name another."""
        records, inventory = list(records), inventory or Inventory()
        rules, findings = examine(files, records, inventory, more_tools=more_tools)
        for finding in findings:
            if finding.problem:
                raise finding.error()
        return cls(files, rules, records, inventory)

    @property
    def digest(self) -> str:
        """The hex SHA-256 of the policies' text, the schema and the inventory: the version that approvals bind to."""
        return self._digest

    @property
    def inventory(self) -> Inventory:
        """The objects that calls may act on, as this version knows them."""
        return self._inventory

    def why(self, policy: str) -> str:
        """As Judge.why. Raises KeyError for a name that no policy of this version has."""
        return self._why[policy]

    def decide(self, call: ToolCall) -> Decision:
        """The ruling on a call. Never raises: whatever goes wrong denies, and is told in `errors`."""
        try:
            where, what = self._where(call), context(call)
            _check_text(where, what)
            alike = call.principal, call.record.name, self._mentions.seen(where, what)
            found = self._decided.get(alike)
            if found is None:
                found = self._strictest([each for _, each in self._rulings(call, where, what)])
                if not found.errors:
                    _keep(self._decided, alike, found, _DECISIONS_KEPT)
            return found
        except Exception as error:
            return Decision("deny", (), self._digest, (f"{type(error).__name__}: {error}",))

    def parts(self, call: ToolCall) -> list[tuple[str, Decision]]:
        """What a decision is made of: the ruling with the user as principal, and the one with the agent, in one and the
        same context; each with its principal's type. Raises ValueError for a call that cannot be judged."""
        return self._rulings(call, self._where(call), context(call))

    def _where(self, call: ToolCall) -> Json:
        """What a call acts on. Raises ValueError for a tool that is not the one that the policies speak of."""
        if self._tools.get(call.record.name) != call.record.digest:
            raise ValueError(f"{call.record.name} is not the tool that the policies were loaded for")
        return resource(call, self._inventory)

    def _rulings(self, call: ToolCall, where: Json, what: Json) -> list[tuple[str, Decision]]:
        known = self._entities_of(call.principal)
        common = {"action": uid("Action", call.record.name), "resource": where, "context": json.dumps(what)}
        user, agent = uid("User", call.principal.user.name), uid("Agent", call.principal.agent.name)
        # Action, resource and context are the same for both: that they fit the schema is found out once.
        return [
            ("User", self._ruling({"principal": user, **common}, known, self._schema)),
            ("Agent", self._ruling({"principal": agent, **common}, known, None)),
        ]

    def _strictest(self, rulings: Sequence[Decision]) -> Decision:
        """The ruling that counts, of those on user and agent, with all that led to it."""
        effect = max((each.effect for each in rulings), key=_SEVERITY.__getitem__)
        decisive = [each for each in rulings if each.effect == effect]
        policies = tuple(sorted({name for each in decisive for name in each.policies}))
        errors = tuple(error for each in decisive for error in each.errors)
        asked = [self._approvals[name] for name in policies] if effect == "suspend" else []
        return Decision(effect, policies, self._digest, errors, Terms.strictest(asked))

    def _ruling(self, request: Json, known: cedarpy.Entities, schema: cedarpy.Schema | None) -> Decision:
        """Suspend only what would be allowed if there were no approval policies; Cedar reports a forbid alike whether
        or not anything permits, hence the second question."""
        first = self._ask(request, self._all, known, schema)
        if first.effect == "allow" or first.errors or not self._approvals.keys() >= set(first.policies or ("",)):
            return first
        second = self._ask(request, self._without_approvals, known, None)
        return Decision("suspend", first.policies, self._digest) if second.effect == "allow" else second

    def _ask(
        self, request: Json, policies: cedarpy.PolicySet, known: cedarpy.Entities, schema: cedarpy.Schema | None
    ) -> Decision:
        """The engine's answer. With a schema a request that does not fit it is an error; `known` has the actions and
        their groups in any case."""
        answer = cedarpy.is_authorized(request, policies, known, schema)
        errors = tuple(answer.diagnostics.errors)
        if answer.decision is cedarpy.Decision.NoDecision and not errors:
            errors = ("the engine came to no decision",)
        if errors:
            return Decision("deny", (), self._digest, errors)
        effect: Ruling = "allow" if answer.decision is cedarpy.Decision.Allow else "deny"
        return Decision(effect, tuple(answer.diagnostics.reasons), self._digest)

    def _entities_of(self, principal: Principal) -> cedarpy.Entities:
        """The principal's entities, parsed once for each of the last few principals."""
        found = self._entities.get(principal)
        if found is None:
            found = cedarpy.Entities.from_json_str(json.dumps(entities(principal)), self._schema)
            _keep(self._entities, principal, found, _ENTITIES_KEPT)
        return found


def _check_text(where: Json, what: Json) -> None:
    """Raise ValueError if a text of a request holds half a character, which the engine does not read: what it is not
    asked about must not pass for being like something else."""
    json.dumps([where, what], ensure_ascii=False).encode()


def _keep(kept: dict[Any, Any], key: Hashable, value: object, most: int) -> None:
    """Keep a value, and let go of the oldest if there are too many."""
    if len(kept) >= most:
        kept.pop(next(iter(kept)), None)
    kept[key] = value


def examine(
    files: Sequence[PolicyFile],
    records: Sequence[ToolRecord] | None,
    inventory: Inventory,
    *,
    more_tools: bool = False,
) -> tuple[list[Rule], list[Finding]]:
    """Every rule that can be read; and the findings: what cannot be read first, then one for each rule.

    With `records` None no tools are known; then, and with `more_tools`, every other tool that a policy names is taken
    to exist, with no arguments.
    """
    rules: list[Rule] = []
    problems: list[Finding] = []
    for file in files:
        found = list(statements(file))
        for statement in found:
            try:
                rules.append(rule(statement, _parsed(statement.text)))
            except SettingsError as error:
                problems.append(Finding(error.where, problem=error.what, do=error.do))
            except (ValueError, RecursionError) as error:
                what = f"the policy does not parse: {_line(error)}"
                problems.append(Finding(statement.where, problem=what, do="correct it"))
        if not problems and _count(file.text) != len(found):
            what = "the file is not the sum of its policies"
            problems.append(Finding(file.path, problem=what, do="keep odd characters out of its comments"))
    if not rules and not problems:
        what = "there is no policy in it"
        problems.append(Finding(files[0].path, problem=what, do="write one, or use a shipped set"))
    return rules, [*problems, *_fitted(rules, records, inventory, more_tools or records is None)]


def _fitted(
    rules: list[Rule], records: Sequence[ToolRecord] | None, inventory: Inventory, more_tools: bool
) -> Iterable[Finding]:
    """A finding for each rule: fine, or how it does not fit its fellows, the tools and the schema."""
    described = cedarpy.Schema.from_json_str(json.dumps(_schema(rules, records or (), inventory)))
    permitted = {action for each in rules if each.effect == "permit" for action in each.actions}
    tools = None if more_tools else {record.name for record in records or ()} | permitted
    taken: Mapping[str, str] = {}
    for each in rules:
        problem, do = "", "correct it"
        missing = sorted(each.actions - tools) if tools is not None else []
        if each.name in taken:
            problem, do = f"another policy is called {each.name} ({taken[each.name]})", "give each its own @id"
        elif missing and each.effect == "forbid":
            # A tool that permits name may be away today. A name that only a forbid has is a slip, and closes nothing.
            problem, do = f"{each.name} forbids {missing[0]}, and no tool is called that", "correct the name"
        else:
            errors = cedarpy.validate_policies(each.text, described).errors
            if errors:
                problem = f"{each.name} does not fit the schema: {_line(errors[0].error)}"
        taken = {each.name: each.where, **taken}
        yield Finding(each.where, each.name, each.effect, problem, do if problem else "")


def _schema(rules: Iterable[Rule], records: Iterable[ToolRecord], inventory: Inventory) -> Json:
    records = list(records)
    named = {action for each in rules for action in each.actions}
    return schema(records, inventory, sorted(named - {record.name for record in records}))


def _policy_set(rules: Iterable[Rule]) -> cedarpy.PolicySet:
    """The rules under their own names, so that reasons and errors are told by name."""
    body = {"templates": {}, "staticPolicies": {each.name: each.body for each in rules}, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(body))


def _parsed(text: str) -> Json:
    return json.loads(cedarpy.policies_to_json_str(text))


def _count(text: str) -> int:
    """How many policies the engine sees in a whole file: a check on our own way of taking it apart."""
    try:
        return len(cedarpy.PolicySet.from_str(text))
    except ValueError:
        return -1


def _line(error: object) -> str:
    """An engine's message as one line, without the number it gave the policy."""
    return " ".join(str(error).replace("for policy `policy0`, ", "").split())[:300]

"""The Cedar schema that policies are checked against, made from the tool records and the inventory.

An action for each tool, in the group `reads` or `writes`; what each call's context holds; what users and agents are.
"""

from collections.abc import Iterable

from runtime.gate.call import ToolCall
from runtime.gate.inventory import UNKNOWN, Inventory
from runtime.gate.typed_arguments import long, record_type, record_value
from store.records.canonical import Json
from store.records.identity import Principal
from tools.record import Effect, ToolRecord

READS, WRITES = "reads", "writes"
_STRING, _LONG, _BOOL = {"type": "String"}, {"type": "Long"}, {"type": "Boolean"}
_STRINGS = {"type": "Set", "element": _STRING}

_CONTEXT = {
    "user": {"type": "Entity", "name": "User"},
    "agent": {"type": "Entity", "name": "Agent"},
    "effect": _STRING,  # "read" or "write"
    "egress": _BOOL,
    "irreversible": _BOOL,
    "reviewed": _BOOL,
    "integrity": _STRING,  # "trusted" or "untrusted", of everything that led to the call
    "vouched": _BOOL,  # each consequential argument is trusted, and there is one; of a local read, false
    "planned": _BOOL,  # it is a step of a frozen plan, which was written from trusted input only
    "untrusted_arguments": _STRINGS,  # names of the consequential arguments that are not
    "classification": _LONG,  # 0 public, 1 internal, 2 confidential, 3 restricted
    "sources": _STRINGS,
    "scopes": _STRINGS,  # that the tool asks for
    "workflow": _STRING,
    "workflow_version": _LONG,
    "opaque": _STRINGS,  # names of arguments that args does not show, or not whole
}


def schema(records: Iterable[ToolRecord], inventory: Inventory, stand_ins: Iterable[str] = ()) -> Json:
    """The schema in Cedar's JSON form. `stand_ins` are action names that policies mention and no tool has: they exist
    so that a policy written for a tool that is not there today can be read; no call ever has such an action."""
    resources = [*inventory.kinds, UNKNOWN]
    none = record_type({})
    # A group without members would make the validator refuse policies that speak of it. No tool can have these names.
    actions: dict[str, Json] = {
        READS: {},
        WRITES: {},
        "no-read": _action([READS], resources, none),
        "no-write": _action([WRITES], resources, none),
    }
    for record in records:
        groups = [READS if record.effect is Effect.READ else WRITES]
        actions[record.name] = _action(groups, resources, record_type(record.input_schema))
    for name in stand_ins:
        actions[name] = _action([READS, WRITES], resources, none)
    return {"": {"entityTypes": _entity_types(resources), "actions": actions}}


def _action(groups: list[str], resources: list[str], arguments: Json) -> Json:
    return {
        "memberOf": [{"id": group} for group in groups],
        "appliesTo": {
            "principalTypes": ["User", "Agent"],
            "resourceTypes": resources,
            "context": {"type": "Record", "attributes": {**_CONTEXT, "args": arguments}},
        },
    }


def _entity_types(resources: list[str]) -> Json:
    user = {"name": _STRING, "uid": _LONG, "tenant": _STRING, "unit": _STRING, "roles": _STRINGS}
    agent = {"name": _STRING, "version": _STRING}
    return {
        "Tenant": {},
        "Unit": {"memberOfTypes": ["Tenant"]},
        "Role": {},
        "User": {"memberOfTypes": ["Unit", "Role"], "shape": {"type": "Record", "attributes": user}},
        "Agent": {"shape": {"type": "Record", "attributes": agent}},
        **{resource: {} for resource in resources},
    }


def entities(principal: Principal) -> Json:
    """The user with unit, tenant and roles, and the agent, as Cedar entities."""
    user, agent = principal.user, principal.agent
    parents = [uid("Unit", user.unit), *(uid("Role", role) for role in sorted(set(user.roles)))]
    attributes = {"name": user.name, "uid": user.uid, "tenant": user.tenant, "unit": user.unit}
    return [
        _entity(uid("Tenant", user.tenant)),
        _entity(uid("Unit", user.unit), parents=[uid("Tenant", user.tenant)]),
        *(_entity(uid("Role", role)) for role in sorted(set(user.roles))),
        _entity(uid("User", user.name), {**attributes, "roles": sorted(user.roles)}, parents),
        _entity(uid("Agent", agent.name), {"name": agent.name, "version": agent.version}),
    ]


def context(call: ToolCall) -> Json:
    """What policies may look at besides principal, action and resource. Raises ValueError if an argument does not
    fit the type that the tool declares for it."""
    record, labels = call.record, call.labels
    arguments, opaque = record_value(record.input_schema, call.arguments)
    return {
        "user": {"__entity": uid("User", call.principal.user.name)},
        "agent": {"__entity": uid("Agent", call.principal.agent.name)},
        "effect": record.effect.value,
        "egress": record.egress,
        "irreversible": record.irreversible,
        "reviewed": call.reviewed,
        "integrity": labels.integrity.name.lower(),
        "vouched": call.vouched,
        "planned": call.placed is not None,
        "untrusted_arguments": [origin.argument for origin in call.origins if not origin.trusted],
        "classification": int(labels.classification),
        "sources": list(labels.sources),
        "scopes": list(record.scopes),
        "workflow": call.workflow,
        "workflow_version": long(call.workflow_version, "the workflow's version"),
        "opaque": list(opaque),
        "args": arguments,
    }


def resource(call: ToolCall, inventory: Inventory) -> Json:
    """The inventory object that the tool's target argument names, exactly; else Unknown with what was named."""
    named = call.arguments.get(call.record.target, "") if call.record.target else ""
    if not isinstance(named, str):
        named = ""
    return uid(inventory.kind_of(named), named)


def uid(kind: str, name: str) -> Json:
    """A Cedar entity id in its JSON form, which can hold any name."""
    return {"type": kind, "id": name}


def _entity(identity: Json, attributes: Json = None, parents: Json = None) -> Json:
    return {"uid": identity, "attrs": attributes or {}, "parents": parents or []}

"""What a person is shown who is asked for an approval: all that the approval binds to, whole, and what to know besides.

It is put on record as it is shown. Nothing in it is cut; making it fit for a screen is the screen's business.
"""

from collections.abc import Mapping
from typing import Any

from runtime.gate.call import ToolCall
from runtime.gate.decision import Judge
from runtime.gate.errors import Suspended
from store.records.canonical import Json, digest
from tools.record import ToolRecord

UNDOES = "undoes"
"""The argument of a compensating tool that takes the key of the effect to undo."""


def shown(suspended: Suspended, judge: Judge, records: Mapping[str, ToolRecord]) -> dict[str, Any]:
    """The request for an approval of a call, as plain JSON. `digest` of its bound part is the binding; who is
    asked gets to see it as `digest`."""
    call = suspended.call
    record = call.record
    return {
        **call.bound(judge.digest),
        "approval": approval_id(suspended.binding),
        "binding": suspended.binding,
        "run": call.run,
        "step": call.step,
        "requester": call.principal.user.name,
        "origins": [origin.json() for origin in call.origins],
        "why": {name: judge.why(name) for name in call.suspended_by},
        "description": record.description,
        "egress": record.egress,
        "irreversible": record.irreversible,
        "compensation": _compensation(call, records),
        "approvers": call.terms.approvers,
        "distinct": call.terms.distinct,
    }


def approval_id(binding: str) -> str:
    """The id of the approval of a call. It tells nothing of the digest that an approver must have looked at."""
    return digest(["approval", binding])[:12]


def undoing(tool: ToolRecord, call: ToolCall, result: Json) -> dict[str, Json]:
    """The arguments that a compensating tool is called with: those of the effect and then its results, by name."""
    known = {**(result if isinstance(result, dict) else {}), **call.arguments, UNDOES: call.key}
    wanted = set(tool.input_schema.get("properties", {})) - {tool.key_argument}
    return {name: value for name, value in known.items() if name in wanted}


def _compensation(call: ToolCall, records: Mapping[str, ToolRecord]) -> Json:
    """What would undo the effect: the tool, its arguments as far as they are known, and those that the result is to
    give; None if nothing does."""
    tool = records.get(call.record.compensate)
    if tool is None:
        return None
    arguments = undoing(tool, call, None)
    missing = set(tool.input_schema.get("properties", {})) - {tool.key_argument} - arguments.keys()
    return {"tool": tool.name, "arguments": arguments, "of_the_result": sorted(missing)}

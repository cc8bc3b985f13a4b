"""How the gate writes to the ledger: the two methods it needs, and the draft of an event about a call."""

from dataclasses import fields as fields_of
from operator import attrgetter
from typing import Any, Protocol

from runtime.gate.call import ToolCall
from store.records.canonical import Json, digest
from store.records.errors import Denied
from store.records.event import Draft, Event
from store.records.kinds import Kind

_words = attrgetter(*(field.name for field in fields_of(Draft)))
"""All that a draft says, of the draft or of its event."""


class Pending(Protocol):
    """An event on its way to the disk."""

    @property
    def event(self) -> Event:
        """The sealed event."""
        ...

    async def durable(self) -> object:
        """Return once the event, and every event before it, is on disk."""
        ...


class Recorder(Protocol):
    """What appends events: the ledger."""

    def append(self, draft: Draft, payload: Json = None) -> Pending:
        """Append one event. Appends reach the disk in the order in which they are made."""
        ...


def fingerprint(call: ToolCall) -> str:
    """The digest of the call's arguments, hex SHA-256. Raises Denied if they are not JSON: what cannot be
    written down exactly cannot be judged, approved or compared."""
    try:
        return digest(call.arguments)
    except (ValueError, TypeError, RecursionError):
        raise Denied(f"the arguments of {call.record.name} are not plain JSON", f"step {call.step}") from None


def ruling(recorder: Recorder, call: ToolCall, payload: Json, **fields: Any) -> int:
    """Put a ruling on a call on record, unless it is there word for word; the number of its event."""
    drafted = draft(call, Kind.DECISION, **fields)
    for event, said in call.rulings:
        if _words(event) == _words(drafted) and said == payload:
            return event.seq
    return recorder.append(drafted, payload).event.seq


def draft(call: ToolCall, kind: Kind, **fields: Any) -> Draft:
    """An event about a call: who, for whom, where in which run, with which tool. `fields` add to it or replace."""
    user, agent = call.principal.user, call.principal.agent
    known: dict[str, Any] = {
        "kind": kind,
        "tenant": user.tenant,
        "unit": user.unit,
        "actor": agent.name,
        "actor_version": agent.version,
        "run": call.run,
        "step": call.step,
        "cause": call.cause,
        "principal": user.name,
        "workflow": call.workflow,
        "workflow_version": call.workflow_version,
        "tool": call.record.name,
        "tool_digest": call.record.digest,
        "labels": call.labels,
    }
    return Draft(**(known | fields))

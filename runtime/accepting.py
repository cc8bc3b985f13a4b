"""Which tools and models are accepted here: each version that a runtime is started with, and who answers for it.

Whoever starts a runtime accepts what its settings name. Each tool and model that was not accepted as it is now is an
event with their name, before anything is done with it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from runtime.conductor.scope import CORE_VERSION
from store.ledger.ledger import Ledger
from store.ledger.reader import EVERYTHING
from store.records.event import Draft
from store.records.identity import User
from store.records.kinds import Kind
from tools.record import ToolRecord


def accept_tools(ledger: Ledger, records: Iterable[ToolRecord], by: User) -> None:
    """Put each tool on record that is not what was accepted last under its name."""
    known = {event.tool: event.tool_digest for event in ledger.events(limit=EVERYTHING, kinds=[Kind.TOOL_ACCEPTED])}
    for record in records:
        if known.get(record.name) != record.digest:
            payload = {"before": known.get(record.name, ""), "record": record.model_dump(mode="json")}
            _note(ledger, Kind.TOOL_ACCEPTED, by, payload, tool=record.name, tool_digest=record.digest)


def accept_models(ledger: Ledger, models: Iterable[Mapping[str, Any]], by: User) -> None:
    """Put each loaded model on record whose file is not the one that was accepted last under its name; `models` are as
    `models.server.Loaded`."""
    known = {
        event.decision: event.model_digest for event in ledger.events(limit=EVERYTHING, kinds=[Kind.MODEL_ACCEPTED])
    }
    for model in models:
        name, sha256 = model["name"], model["sha256"]
        if known.get(name) != sha256:
            known[name] = sha256
            _note(ledger, Kind.MODEL_ACCEPTED, by, {"name": name}, decision=name, model_digest=sha256)


def _note(ledger: Ledger, kind: Kind, by: User, payload: Any, **facts: Any) -> None:
    draft = Draft(
        kind=kind,
        tenant=by.tenant,
        unit=by.unit,
        actor="core",
        actor_version=CORE_VERSION,
        principal=by.name,
        **facts,
    )
    ledger.append(draft, payload)

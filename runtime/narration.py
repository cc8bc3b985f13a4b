"""What a run does, a line a step: event in, words out. Whoever prints decides how it looks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runtime.gateway.messages import EventView
from store.records.canonical import Json
from store.records.usage import OVER_BUDGET

WIDTH = 110

Mark = Literal["model", "rule", "person", "core"]
Tone = Literal["plain", "good", "bad", "wait"]
TONES: Mapping[str, Tone] = {"deny": "bad", "suspend": "wait", OVER_BUDGET: "bad"}


@dataclass(frozen=True, slots=True)
class Line:
    """One step in words. `mark` says who decided it; `tone` how it went."""

    mark: Mark
    actor: str
    text: str
    tone: Tone = "plain"


def narrate(view: EventView) -> Line | None:
    """The line for an event, or None for one that says nothing new to a person."""
    event, payload = view.event, view.payload or {}
    teller = _TELLERS.get(event["kind"])
    return teller(event, payload) if teller and not view.gone else None


def short(value: Json, width: int = WIDTH) -> str:
    """A value on one line, cut for reading (the ledger has all of it); control characters are escaped."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= width else text[: width - 1] + "…"


def _step(event: dict[str, Any], payload: dict[str, Any]) -> Line | None:
    value: Any = payload.get("value")
    name = payload.get("name", "")
    mark = _mark(payload)
    match payload.get("kind"):
        case "route":
            return Line(mark, "router", f"this is a task for the workflow {value['choice']}")
        case "work":
            call = f"{value['tool']} {short(value['arguments'], 80)}"
            return Line(mark, "worker", f"proposes {call}")
        case "ask":
            return Line(mark, "worker", f"answers {short(value)}")
        case "plan":
            return Line(mark, "worker", f"plans {short(value)}")
        case "read":
            return Line(mark, "worker", f"reads {name} out of data: {short(value, 70)}")
        case "call":
            tone: Tone = "bad" if value["error"] else "plain"
            return Line(
                mark, event["actor"], f"{name} {short(payload['arguments'], 50)} → {short(value['result'], 60)}", tone
            )
        case "recall":
            return (
                Line(mark, event["actor"], f"recalls {len(value)} earlier text{'s' * (len(value) > 1)}")
                if value
                else None
            )
        case "commit":
            return Line("rule", event["actor"], f"committed {len(value)} of {len(value)} effects", "good")
    return None


def _mark(payload: dict[str, Any]) -> Mark:
    """Who decided a step."""
    return "model" if payload.get("by") == "model" else "rule"


def _failed(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    mark = _mark(payload)
    return Line(mark, event["actor"], f"{payload['kind']}: {short(payload['error']['what'])}", "bad")


def _staged(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    mark = _mark(payload)
    return Line(mark, event["actor"], f"stages {payload['name']} {short(payload['arguments'], 70)}")


def _reviewed(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    value = payload["value"]
    tone: Tone = "good" if value["verdict"] == "approve" else "bad"
    mark: Mark = "model" if event["model_digest"] else "rule"
    return Line(mark, "reviewer", f"{value['verdict']}s the change set: {short(value['reason'], 70)}", tone)


def _frozen(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    steps = payload["value"]["steps"]
    return Line("core", "core", f"freezes the plan {event['decision'][:12]}: {short(steps, 70)}")


def _decision(event: dict[str, Any], payload: dict[str, Any]) -> Line | None:
    if event["decision"] == "allow" and not payload.get("reviewed"):
        return None
    if event["decision"] == "suspend" and event["cause"]:  # by a person's word, after which policy is asked again
        return None
    if event["decision"] == OVER_BUDGET:
        return Line("rule", "budget", f"stops {event['tool']}: {short(payload['problem'])}", "bad")
    rules = ", ".join(payload.get("policies", ())) or "no policy permits it"
    return Line(
        "rule", "policy", f"{event['decision']} {event['tool']} by {rules}", TONES.get(event["decision"], "plain")
    )


def _asked(_: dict[str, Any], payload: dict[str, Any]) -> Line:
    return Line("person", "approval", f"{payload['tool']} waits for a person ({payload['approval']})", "wait")


def _answered(event: dict[str, Any], _: dict[str, Any]) -> Line:
    yes = event["decision"] == "yes"
    return Line("person", event["principal"], f"says {event['decision']} to {event['tool']}", "good" if yes else "bad")


def _granted(event: dict[str, Any], _: dict[str, Any]) -> Line:
    said = f"says yes to {event['tool']} by the standing grant {event['decision']}"
    return Line("person", event["principal"], said, "good")


def _intent(event: dict[str, Any], _: dict[str, Any]) -> Line:
    return Line("rule", "gate", f"intent on disk: {event['tool']}")


def _outcome(event: dict[str, Any], _: dict[str, Any]) -> Line:
    tone: Tone = "bad" if event["decision"] == "error" else "good"
    return Line("rule", "gate", f"outcome on disk: {event['tool']} {event['decision']}", tone)


def _note(event: dict[str, Any], payload: dict[str, Any]) -> Line | None:
    return Line("rule", event["actor"], short(payload["text"])) if "text" in payload else None


def _waits(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    if "signal" in payload:
        return Line("rule", event["actor"], f"waits for the signal {payload['signal']}", "wait")
    return Line("rule", event["actor"], f"sleeps until {payload['due'][:19]}Z", "wait")


def _signalled(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    return Line("person", event["principal"], f"sends the signal {payload['signal']} {short(payload['value'], 60)}")


def _questioned(_: dict[str, Any], payload: dict[str, Any]) -> Line:
    for_whom = f" (for {payload['to']})" if payload["to"] else ""
    return Line("person", "question", f"{short(payload['question'], 80)}{for_whom}", "wait")


def _replied(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    return Line("person", event["principal"], f"answers {short(payload['value'])}", "good")


def _doubted(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    return Line("core", "gate", f"in doubt: {event['tool']}, {short(payload['why'], 70)}", "bad")


def _settled(event: dict[str, Any], _: dict[str, Any]) -> Line:
    became = "happened" if event["decision"] == "happened" else "did not happen"
    return Line("person", event["principal"], f"says that {event['tool']} {became}", "wait")


def _stopped(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    done = "pauses" if event["kind"] == "run.paused" else "cancels"
    why = f": {short(payload['reason'], 70)}" if payload["reason"] else ""
    return Line("person", event["principal"], f"{done} the run{why}", "wait")


def _retried(event: dict[str, Any], _: dict[str, Any]) -> Line:
    return Line("person", event["principal"], f"has step {event['step']} tried again")


def _resumed(event: dict[str, Any], _: dict[str, Any]) -> Line:
    return Line("core", "core", f"resumes the run in epoch {event['epoch']}", "wait")


def _parked(_: dict[str, Any], payload: dict[str, Any]) -> Line:
    return Line("core", "core", f"parked: {short(payload['text'])}", "wait")


def _ended(event: dict[str, Any], payload: dict[str, Any]) -> Line:
    good = event["decision"].startswith("completed")
    return Line("core", "core", f"{event['decision']}: {short(payload.get('text') or '')}", "good" if good else "bad")


_TELLERS = {
    "step.completed": _step,
    "step.failed": _failed,
    "staged": _staged,
    "review.completed": _reviewed,
    "plan.frozen": _frozen,
    "decision": _decision,
    "approval.requested": _asked,
    "approval.answered": _answered,
    "grant.used": _granted,
    "effect.intent": _intent,
    "effect.outcome": _outcome,
    "effect.in-doubt": _doubted,
    "effect.settled": _settled,
    "wait.begun": _waits,
    "signal.received": _signalled,
    "input.requested": _questioned,
    "input.answered": _replied,
    "note": _note,
    "run.resumed": _resumed,
    "run.parked": _parked,
    "run.paused": _stopped,
    "run.cancelling": _stopped,
    "run.retried": _retried,
    "run.ended": _ended,
}

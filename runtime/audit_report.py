"""The report on one run: a page for people. Who asked, what was decided by which rule, what was done, in order.

It is made of the run's events and nothing else, names the event behind every line, and repeats texts as they were
recorded; what has been destroyed since is said to be. Markdown, since any editor shows it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from runtime.gateway.messages import EventView, RunView
from runtime.narration import narrate
from store.records.canonical import Json, canonical
from store.records.kinds import Kind

LONG = 400
"""Characters of a value that are shown; the ledger has all of it."""


def report(run: RunView, events: Sequence[EventView]) -> str:
    """The page on a run, from all of its events with their payloads, oldest first."""
    parts = [_head(run, events), _decisions(events), _effects(events), _course(events), _check(events)]
    return "\n".join("\n".join(part) + "\n" for part in parts if part)


def _head(run: RunView, events: Sequence[EventView]) -> list[str]:
    first, submission = events[0].event, events[0].payload or {}
    user = submission.get("user") or {}
    last = events[-1].event
    labels = last["labels"] or {}
    versions = sorted({each.event["workflow_version"] for each in events if each.event["workflow_version"]})
    facts = {
        "Asked by": f"{first['principal']}, tenant {first['tenant']}, unit {first['unit'] or '-'}"
        + (f", roles {', '.join(user['roles'])}" if user else ""),
        "Asked at": first["time"],
        "Task": events[0].gone or submission.get("task", ""),
        "Workflow": f"{run.workflow or 'none was chosen'} {', '.join(f'version {each}' for each in versions)}".strip(),
        "Ended": f"{run.status} {f'at {run.ended}' if run.ended else ''}".strip(),
        "Outcome": run.outcome or "-",
        "Resolved by": run.resolved_by or "-",
        "Cost": f"{run.model_calls} model calls, {run.tokens} tokens, {run.device_ms} ms of the device",
        "Labels at the end": f"{labels.get('classification', '-')}, {labels.get('integrity', '-')}; seen: "
        + (", ".join(labels.get("sources", ())) or "nothing"),
    }
    return [f"# Run {run.run}", "", *(f"- {name}: {_text(value)}" for name, value in facts.items())]


def _decisions(events: Sequence[EventView]) -> list[str]:
    lines = [_decision(each) for each in events if each.event["kind"] in _DECIDED]
    return ["## What was decided", "", *(lines or ["Nothing had to be."])]


def _decision(view: EventView) -> str:
    event, payload = view.event, view.payload or {}
    match event["kind"]:
        case Kind.DECISION:
            rules = ", ".join(payload.get("policies", ())) or "no policy permits it"
            text = f"policy {event['policy_digest'][:12]}: {event['decision']} {event['tool']} for {event['actor']}"
            said = f"{text} on behalf of {event['principal']}, by {rules}"
        case Kind.REVIEW_COMPLETED:
            verdict = payload.get("value") or {}
            said = f"the reviewer: {verdict.get('verdict', '-')}, {verdict.get('reason', '')}"
        case Kind.APPROVAL_ANSWERED:
            said = f"{event['principal']}: {event['decision']} to {event['tool']}, {payload.get('meaning') or '-'}"
        case Kind.EFFECT_SETTLED:
            said = f"{event['principal']} settled {event['tool']}: {event['decision']}, {payload.get('reason') or '-'}"
        case _:
            said = f"{event['principal']}: {event['kind']} {payload.get('reason', '')}"
    return f"{_at(event)} {_text(view.gone or said)}"


def _effects(events: Sequence[EventView]) -> list[str]:
    lines: list[str] = []
    for view in events:
        event, payload = view.event, view.payload or {}
        if event["kind"] == Kind.EFFECT_INTENT:
            approver = f", approved by {payload['approver']}" if payload.get("approver") else ""
            arguments = view.gone or _value(payload.get("arguments"))
            lines.append(f"{_at(event)} step {event['step']}: {event['tool']} {_text(arguments)}{_text(approver)}")
        elif event["kind"] == Kind.EFFECT_OUTCOME:
            result = view.gone or _value(payload.get("value"))
            lines.append(f"{_at(event)} step {event['step']}: {event['decision']}, {_text(result)}")
        elif event["kind"] == Kind.EFFECT_IN_DOUBT:
            why = view.gone or payload.get("why", "")
            lines.append(f"{_at(event)} step {event['step']}: nobody knows whether it happened, {_text(why)}")
    return ["## What was done", "", *(lines or ["Nothing was changed."])]


def _course(events: Sequence[EventView]) -> list[str]:
    return ["## In order", "", *_told(events)]


def _told(events: Sequence[EventView]) -> Iterator[str]:
    for view in events:
        line = None if view.payload is None and view.event["payload"] else narrate(view)
        said = (
            f"{line.actor}: {line.text}" if line else f"{view.event['actor']}: {view.event['kind']} {view.gone or ''}"
        )
        yield f"{_at(view.event)} {_text(said)}"


def _check(events: Sequence[EventView]) -> list[str]:
    first, last = events[0], events[-1]
    return [
        "## How to check this page",
        "",
        f"Each line names the event behind it. The run's events are {len(events)}, from {first.event['seq']} to "
        f"{last.event['seq']}; the hash of the last is {last.hash}.",
        f"`bailiwick audit prove {last.event['seq']}` proves it to be in the signed log, `bailiwick audit export DIR` "
        "gives an auditor all of it.",
    ]


def _at(event: dict[str, Any]) -> str:
    return f"- {event['time'][:19]}Z, event {event['seq']}:"


def _value(value: Json) -> str:
    text = canonical(value).decode()
    return text if len(text) <= LONG else f"{text[:LONG]}… ({len(text)} characters)"


def _text(value: str) -> str:
    """A recorded text on one line, which nothing in it can break out of: it may come from a tool or a model."""
    plain = "".join(char if char.isprintable() else " " for char in value).strip()
    return "".join(f"\\{char}" if char in r"\`*[]<>#|!" else char for char in plain)


_DECIDED = frozenset(
    {
        Kind.DECISION,
        Kind.REVIEW_COMPLETED,
        Kind.APPROVAL_ANSWERED,
        Kind.EFFECT_SETTLED,
        Kind.RUN_PAUSED,
        Kind.RUN_CANCELLING,
        Kind.RUN_RETRIED,
    }
)

"""The report on one run: a page for people. Who asked, what was decided by which rule, what was done, in order.

It is made of the run's events and nothing else, names the event behind every line, and repeats texts as they were
recorded; what has been destroyed since is said to be. Markdown, since any editor shows it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from runtime.gateway.messages import EventView, RunView
from runtime.sentences import ruling, sentence
from store.records.canonical import Json, canonical
from store.records.kinds import Kind
from store.records.labels import Labels

LONG = 400
"""Characters of a value that are shown; the ledger has all of it."""


def report(run: RunView, events: Sequence[EventView]) -> str:
    """The page on a run, from all of its events with their payloads, oldest first."""
    parts = [_head(run, events), _decisions(events), _effects(events), _course(events), _check(events)]
    return "\n".join("\n".join(part) + "\n" for part in parts if part)


def _head(run: RunView, events: Sequence[EventView]) -> list[str]:
    first, submission = events[0].event, events[0].payload or {}
    user = submission.get("user") or {}
    labels = [Labels.parse(each.event["labels"]) for each in events if each.event["labels"]]
    joined = labels[0].join(*labels[1:]).json() if labels else {}
    versions = sorted({each.event["workflow_version"] for each in events if each.event["workflow_version"]})
    facts = {
        "Asked by": f"{first['principal']}, tenant {first['tenant']}, unit {first['unit'] or '-'}"
        + (f", roles {', '.join(user['roles'])}" if user else ""),
        "Asked at": first["time"],
        **({"Forked": f"{run.forked}, at the word of {first['principal']}"} if run.forked else {}),
        **_carried(submission.get("forked") or {}),
        "Task": events[0].gone or submission.get("task", ""),
        "Workflow": f"{run.workflow or 'none was chosen'} {', '.join(f'version {each}' for each in versions)}".strip(),
        "Ended" if run.ended else "State": f"{run.status} {f'at {run.ended}' if run.ended else ''}".strip(),
        "Outcome": run.outcome or "-",
        "Resolved by": run.resolved_by or "-",
        "Cost": f"{run.model_calls} model calls, {run.tokens} tokens, {run.device_ms} ms of the device",
        "Labels at the end" if run.ended else "Labels": f"{joined.get('classification', '-')}, "
        f"{joined.get('integrity', '-')}; seen: " + (", ".join(joined.get("sources", ())) or "nothing"),
    }
    return [f"# Run {run.run}", "", *(f"- {name}: {_text(value)}" for name, value in facts.items())]


def _carried(forked: dict[str, Any]) -> dict[str, str]:
    """The effects of the source, as they were listed when the run was forked."""
    told = {"Done by the source, not repeated": "effects", "Begun by the source since, may be repeated": "again"}
    lists = {
        name: ", ".join(f"{tool} (step {step})" for step, tool in forked.get(key, ())) for name, key in told.items()
    }
    return {name: listed for name, listed in lists.items() if listed}


def _decisions(events: Sequence[EventView]) -> list[str]:
    answers = _answers(events)
    lines = [_decision(each, answers) for each in events if each.event["kind"] in _DECIDED]
    return ["## What was decided", "", *(lines or ["Nothing had to be."])]


def _answers(events: Sequence[EventView]) -> set[int]:
    return {view.event["seq"] for view in events if view.event["kind"] == Kind.APPROVAL_ANSWERED}


def _decision(view: EventView, answers: set[int]) -> str:
    event, payload = view.event, view.payload or {}
    match event["kind"]:
        case Kind.DECISION:
            said = f"policy {event['policy_digest'][:12]}: {ruling(event, payload, answers)}"
        case Kind.REVIEW_COMPLETED:
            verdict = payload.get("value") or {}
            said = f"the reviewer: {verdict.get('verdict', '-')}, {verdict.get('reason', '')}"
        case Kind.PLAN_FROZEN:
            said = f"the plan {event['decision'][:12]} is frozen: {_value((payload.get('value') or {}).get('steps'))}"
        case Kind.APPROVAL_ANSWERED:
            said = f"{event['principal']}: {event['decision']} to {event['tool']}, {payload.get('meaning') or '-'}"
        case Kind.GRANT_USED:
            said = f"{event['principal']}: yes to {event['tool']}, by the standing grant {event['decision']}"
        case Kind.EFFECT_SETTLED:
            said = f"{event['principal']} settled {event['tool']}: {event['decision']}, {payload.get('reason') or '-'}"
        case _:
            said = sentence(view)
    return f"{_at(event)} {_text(view.gone or said)}"


def _effects(events: Sequence[EventView]) -> list[str]:
    answers = (Kind.EFFECT_OUTCOME, Kind.EFFECT_SETTLED)
    closed = {view.event["cause"] for view in events if view.event["kind"] in answers}
    intents = {view.event["step"]: view.event for view in events if view.event["kind"] == Kind.EFFECT_INTENT}
    lines: list[str] = []
    for view in events:
        event = view.event
        if event["kind"] == Kind.EFFECT_INTENT:
            lines.append(f"{_at(event)} step {event['step']}: {_intent(view)}")
            if event["seq"] not in closed:
                lines.append(f"{_at(event)} step {event['step']}: intent only, outcome unknown")
        elif event["kind"] == Kind.EFFECT_OUTCOME:
            lines.append(f"{_at(event)} step {event['step']}: {_outcome(view, intents.get(event['step']))}")
        elif event["kind"] == Kind.EFFECT_IN_DOUBT:
            why = view.gone or (view.payload or {}).get("why", "")
            lines.append(f"{_at(event)} step {event['step']}: nobody knows whether it happened, {_text(why)}")
        elif event["kind"] == Kind.EFFECT_SETTLED:
            became = "happened" if event["decision"] == "happened" else "did not happen"
            lines.append(f"{_at(event)} step {event['step']}: {_text(event['principal'])} said that it {became}")
    return ["## What was done", "", *(lines or ["Nothing was changed."])]


def _intent(view: EventView) -> str:
    payload = view.payload or {}
    arguments = view.gone or _value(payload.get("arguments"))
    return f"{view.event['tool']} {_text(arguments)}{_text(_approved(view.event, payload))}"


def _approved(event: dict[str, Any], payload: dict[str, Any]) -> str:
    """Who approved an effect; before there could be several, an intent named one."""
    names = payload.get("approvers") or list(filter(None, [payload.get("approver")]))
    if not names:
        return ""
    alone = "; requester and approver are one person" if names == [event["principal"]] else ""
    return f", approved by {', '.join(names)}{alone}"


def _outcome(view: EventView, intent: dict[str, Any] | None) -> str:
    """How an effect ended, and, if that was not plain from its first call, how it came to be known."""
    event, payload = view.event, view.payload or {}
    ended = f"{event['decision']}, {_text(view.gone or _value(payload.get('value')))}"
    learnt = list(payload.get("learnt", ()))
    if intent is not None and intent["epoch"] < event["epoch"]:
        unknown = f"intent at event {intent['seq']}, outcome unknown when epoch {intent['epoch']} ended"
        learnt = [unknown, *learnt[1:]]
    return f"{_text('; '.join(learnt))}; outcome: {ended}" if learnt else ended


def _course(events: Sequence[EventView]) -> list[str]:
    return ["## In order", "", *_told(events)]


def _told(events: Sequence[EventView]) -> Iterator[str]:
    answers = _answers(events)
    for view in events:
        said = sentence(view, answers)
        raised = ((view.payload or {}).get("detail") or {}).get("raised")
        yield f"{_at(view.event)} {_text(f'{said}; {_value(raised)}' if raised else said)}"


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
        Kind.PLAN_FROZEN,
        Kind.APPROVAL_ANSWERED,
        Kind.GRANT_USED,
        Kind.EFFECT_SETTLED,
        Kind.RUN_PAUSED,
        Kind.RUN_CANCELLING,
        Kind.RUN_RETRIED,
    }
)

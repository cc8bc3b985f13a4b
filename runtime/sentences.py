"""Every event of a run as a sentence, for the page that a person reads: those, too, that `narrate` passes over.

A sentence that must do without the payload, since that was destroyed, is made of the event's columns alone.
"""

from collections.abc import Collection, Mapping
from typing import Any

from runtime.gateway.messages import EventView
from runtime.narration import narrate, short
from store.records.kinds import Kind


def sentence(view: EventView, answers: Collection[int] = ()) -> str:
    """Who did what in one event. `answers` are the numbers of the answers to approvals, after which policy is asked
    again. An event of a kind that is not known here is told as that."""
    event, payload = view.event, view.payload or {}
    if event["kind"] == Kind.DECISION:
        return f"policy: {ruling(event, payload, answers)}"
    line = narrate(view) if view.payload is not None or not event["payload"] else None
    if line is not None:
        return f"{line.actor}: {line.text}"
    if event["kind"] == Kind.STEP_COMPLETED and payload:
        said = _STEPS.get(payload["kind"], "completes step {step}").format_map({**event, "name": payload["name"]})
    else:
        said = _SENTENCES.get(event["kind"], "records an event of the kind {kind}").format_map(event)
    gone = f" ({view.gone})" if view.gone else ""
    return f"{event['actor']}: {short(said)}{gone}"


def ruling(event: Mapping[str, Any], payload: Mapping[str, Any], answers: Collection[int]) -> str:
    """What was decided about a call, by which rules, and whether that was before or after a person's answer."""
    rules = ", ".join(payload.get("policies", ())) or "no policy permits it"
    known = f", by {rules}" if payload else ""
    call = f"{event['decision']} {event['tool']} for {event['actor']} on behalf of {event['principal']}{known}"
    if payload.get("by") == "approval":
        fits = payload["problem"] or f"{' and '.join(payload['approvers'])} approved exactly this call"
        return f"{call}; {fits}"
    if event["cause"] in answers:
        return f"judged again after the approval (event {event['cause']}): {call}"
    return call


_STEPS: Mapping[str, str] = {
    "now": "reads the clock",
    "uuid": "draws an identifier",
    "random": "draws a random number",
    "step": "computes {name}",
    "sleep": "has slept",
    "wait": "takes the signal {name}",
    "input": "has the answer to its question",
    "recall": "finds no earlier text to recall",
    "remember": "keeps a text in the memory",
    "child": "has the outcome of the run that it began with the workflow {name}",
}
"""What a step of each kind did, where `narrate` is silent."""

_SENTENCES: Mapping[str, str] = {
    Kind.RUN_SUBMITTED: "takes the task from {principal}",
    Kind.RUN_STARTED: "begins the run in epoch {epoch}",
    Kind.RUN_RESUMED: "resumes the run in epoch {epoch}",
    Kind.RUN_PARKED: "parks the run ({decision})",
    Kind.RUN_PAUSED: "pauses the run, as {principal} asks",
    Kind.RUN_CANCELLING: "cancels the run, as {principal} asks",
    Kind.RUN_RETRIED: "has step {step} tried again, as {principal} asks",
    Kind.RUN_PATCHED: "goes the changed way {decision}",
    Kind.RUN_ENDED: "ends the run as {decision}",
    Kind.STEP_COMPLETED: "completes step {step}",
    Kind.STEP_FAILED: "fails at step {step} ({decision})",
    Kind.STAGED: "stages {tool}",
    Kind.CHANGE_SET_DISCARDED: "throws the staged effects away",
    Kind.PLAN_FROZEN: "freezes its plan",
    Kind.REVIEW_COMPLETED: "has the reviewer's verdict on the change set",
    Kind.APPROVAL_REQUESTED: "asks a person to approve {tool}",
    Kind.APPROVAL_ANSWERED: "has the answer of {principal} to {tool}: {decision}",
    Kind.GRANT_USED: "has a yes to {tool} that {principal} gave beforehand",
    Kind.CALL_CHARGED: "books what {tool} costs",
    Kind.WAIT_BEGUN: "begins to wait at step {step}",
    Kind.SIGNAL_RECEIVED: "keeps a signal from {principal}",
    Kind.INPUT_REQUESTED: "asks a person a question at step {step}",
    Kind.INPUT_ANSWERED: "has the answer of {principal} at step {step}",
    Kind.EFFECT_INTENT: "puts the intent of {tool} on disk",
    Kind.EFFECT_OUTCOME: "puts the outcome of {tool} on disk: {decision}",
    Kind.EFFECT_IN_DOUBT: "does not know whether {tool} happened",
    Kind.EFFECT_SETTLED: "has the word of {principal} on {tool}: {decision}",
    Kind.COMMIT_FAILED: "could not finish the commit at step {step} ({decision}), and undoes what can be undone",
    Kind.MODEL_CALLED: "asks the model, for {tokens} tokens",
    Kind.NOTE: "says something to who watches",
}

"""What a span says of an event: names, numbers and identities always, content only where a person asked for it.

Names are those of OpenTelemetry's GenAI conventions where they have one, else `bailiwick.` something. What is not named
in here is content, and stays in the ledger.
"""

from typing import Any

from runtime.gateway.messages import EventView
from runtime.traces.span import Value
from store.records.canonical import Json, canonical
from store.records.kinds import Kind

PEOPLE = frozenset(
    {
        Kind.APPROVAL_ANSWERED,
        Kind.GRANT_USED,
        Kind.INPUT_ANSWERED,
        Kind.EFFECT_SETTLED,
        Kind.SIGNAL_RECEIVED,
        Kind.RUN_PAUSED,
        Kind.RUN_CANCELLING,
        Kind.RUN_RETRIED,
    }
)
"""What people did: the principal of such an event is who did it."""


def basics(view: EventView) -> dict[str, Value]:
    """What any event says: its number, and what is known of it without content. Nothing that is empty."""
    event = view.event
    labels = event["labels"] or {}
    known = {
        "bailiwick.event": event["seq"],
        "bailiwick.step": event["step"],
        "bailiwick.decision": event["decision"],
        "bailiwick.policy.digest": event["policy_digest"],
        "bailiwick.classification": labels.get("classification", ""),
        "bailiwick.integrity": labels.get("integrity", ""),
        "bailiwick.principal": event["principal"] if event["kind"] in PEOPLE else "",
        "gen_ai.tool.name": event["tool"],
        "bailiwick.tool.digest": event["tool_digest"],
        "bailiwick.gone": bool(view.gone),
    }
    return {name: value for name, value in known.items() if value}


def moment(view: EventView, content: bool) -> dict[str, Value]:
    """What an event says that is a moment of a span."""
    found = basics(view)
    if view.event["kind"] == Kind.DECISION and (policies := payload_of(view).get("policies")):
        found["bailiwick.policies"] = tuple(policies)
    return found | (whole(view) if content else {})


def whole(view: EventView) -> dict[str, Value]:
    """All of an event's content, as JSON."""
    return {} if view.payload is None else {"bailiwick.payload": text(view.payload)}


def tool(name: str, call: str) -> dict[str, Value]:
    """What is said of the call of a tool; `call` is its place."""
    known = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.type": "function"}
    return {**known, "gen_ai.tool.call.id": call}


def tool_content(arguments: Json, result: Json) -> dict[str, Value]:
    """What a tool was given and gave back."""
    return {"gen_ai.tool.call.arguments": text(arguments), "gen_ai.tool.call.result": text(result)}


def model(view: EventView, told: dict[str, Any], content: bool) -> dict[str, Value]:
    """What is said of a model call: by `told`, or if that is gone by the event alone."""
    found: dict[str, Value] = {
        "gen_ai.provider.name": "bailiwick",
        "bailiwick.event": view.event["seq"],
        "bailiwick.step": view.event["step"],
        "bailiwick.model.digest": view.event["model_digest"],
        "bailiwick.prompt.digest": view.event["prompt_digest"],
        "bailiwick.device_ms": view.event["device_ms"],
        "bailiwick.tokens": view.event["tokens"],
    }
    given: dict[str, Any] = told.get("completion") or told.get("embedding") or {}
    if given:  # a model answers under the name that it is asked by
        names = {"gen_ai.request.model": given["model"], "gen_ai.response.model": given["model"]}
        found |= {**names, "bailiwick.queue_ms": given["queue_ms"]}
    if "completion" in told:
        found |= _completion(given)
        if content:
            asked = [{"role": role, "parts": [_part(said)]} for role, said in told["messages"]]
            answer = {"role": "assistant", "parts": [_part(given["text"])], "finish_reason": given["stop"]}
            found |= {"gen_ai.input.messages": text(asked), "gen_ai.output.messages": text([answer])}
    elif "embedding" in told:
        found |= {"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": given["tokens"]}
        if content:
            found["bailiwick.texts"] = text(told["texts"])
    return found


def _completion(given: dict[str, Any]) -> dict[str, Value]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.seed": given["seed"],
        "gen_ai.response.finish_reasons": (given["stop"],),
        "gen_ai.usage.input_tokens": given["prompt_tokens"],
        "gen_ai.usage.output_tokens": given["sampled_tokens"] + given["forced_tokens"],
        "gen_ai.usage.cache_read.input_tokens": given["reused_tokens"],
    }


def payload_of(view: EventView) -> dict[str, Any]:
    """An event's payload; empty if it has none, or none that can be read any more."""
    return view.payload if isinstance(view.payload, dict) else {}


def text(value: Json) -> str:
    """A value as one text: spans have no nested ones that all collectors take."""
    return value if isinstance(value, str) else canonical(value).decode()


def _part(said: str) -> dict[str, str]:
    return {"type": "text", "content": said}

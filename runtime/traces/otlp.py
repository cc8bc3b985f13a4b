"""OTLP's JSON encoding: ids as hex, enums as numbers, 64-bit integers as text, names in lowerCamelCase.

Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding and opentelemetry-proto's trace.proto.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from runtime.gateway.messages import EventView
from runtime.traces.span import Attributes, Moment, Span, Value, trace_id
from runtime.traces.spans import spans
from store.records.canonical import Json

ERROR = 2
"""The status of a span that ended in an error; the others have none, for nobody has looked whether they are right."""


def export(events: Sequence[EventView], *, content: bool = False) -> Json:
    """An ExportTraceServiceRequest with the spans of one run, as JSON: the same, whenever it is made of these events.

    `events` are all of the run's with their payloads, oldest first; `content` as in `spans`.
    """
    trace = trace_id(str(events[0].event["run"]))
    found = [_span(trace, each) for each in spans(events, content=content)]
    resource = {"attributes": _attributes({"service.name": "bailiwick", "service.version": _version()})}
    scope = {"name": "bailiwick.runtime.traces", "version": _version()}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": found}]}]}


def _span(trace: str, span: Span) -> dict[str, Json]:
    said = dict(span.attributes) | ({"error.type": span.error} if span.error else {})
    found: dict[str, Any] = {
        "traceId": trace,
        "spanId": span.id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(said),
        "events": [_moment(each) for each in span.moments],
        "status": {"code": ERROR} if span.error else {},
    }
    if span.parent:
        found["parentSpanId"] = span.parent
    if span.link:
        found["links"] = [{"traceId": span.link[0], "spanId": span.link[1]}]
    return found


def _moment(moment: Moment) -> dict[str, Json]:
    return {"name": moment.name, "timeUnixNano": str(moment.at_ns), "attributes": _attributes(moment.attributes)}


def _attributes(attributes: Attributes) -> list[Json]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Value) -> dict[str, Json]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case str():
            return {"stringValue": value}
        case _:
            return {"arrayValue": {"values": [{"stringValue": each} for each in value]}}


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("bailiwick-runtime")

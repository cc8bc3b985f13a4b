"""A collector on this machine, and what one makes of a request."""

import base64
import copy
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def parsed(request: Any) -> Any:
    """What a collector takes a request for. OTLP writes ids as hex where protobuf's own JSON has base64."""
    found = copy.deepcopy(request)
    for each in spans(found):
        for holder in (each, *each.get("links", ())):
            for name in ("traceId", "spanId", "parentSpanId"):
                if name in holder:
                    holder[name] = base64.b64encode(bytes.fromhex(holder[name])).decode()
    return json_format.ParseDict(found, ExportTraceServiceRequest())


def spans(request: Any) -> list[dict[str, Any]]:
    """The spans of a request, in order."""
    [resource] = request["resourceSpans"]
    [scope] = resource["scopeSpans"]
    found: list[dict[str, Any]] = scope["spans"]
    return found


def said(holder: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a span or of an event of one, as plain values."""

    def plain(value: dict[str, Any]) -> Any:
        [(kind, held)] = value.items()
        if kind == "arrayValue":
            return [plain(each) for each in held["values"]]
        return int(held) if kind == "intValue" else held

    return {each["key"]: plain(each["value"]) for each in holder["attributes"]}


@dataclass
class Receiver:
    """A collector on this machine. It answers `status` with `headers` and `body`; while `hold` is unset it hangs."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    hold: threading.Event = field(default_factory=threading.Event)
    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """What answers its requests."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.taken.append((self.path, dict(self.headers), body))
                receiver.came.release()
                receiver.hold.wait(30)
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(receiver.body)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                """Tests print nothing."""

        return Handler

"""One service of the lab: an HTTP server on a loopback port, run as `python -m tools.opslab.service STATE NAME PARENT`.

Its work endpoint keeps a record and asks its dependency; /health and /metrics tell how it fares. SIGUSR1 starts a
compaction, SIGUSR2 turns eviction off: both wake a bug in parts.py. Standard library only. It dies with its parent.
"""

import json
import signal
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from tools.opslab.layout import HOST, place, port_of, read
from tools.opslab.parts import Log, Sessions, Store, take_lock
from tools.process import die_with_parent

SLOW_MS = 400
HUNG_S = 1.0
CANNOT_START = 3


class WorkFailed(Exception):
    """A request failed; the message is what the log says, the status is what the caller gets."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service:
    """The state of the process: config, parts, and what happened to the requests so far."""

    def __init__(self, state: Path, name: str) -> None:
        self.state, self.name = state, name
        self.home = place(state, name)
        self.config = self.home.config()
        self.log = Log(self.home.log, name)
        self.store = Store(self.home.data, self.config["quota_kb"] * 1024)
        self.sessions = Sessions()
        self.pool = threading.BoundedSemaphore(self.config["pool_size"])
        self.started = time.monotonic()
        self.requests = self.errors = self.last_ms = 0
        self.last_error = ""
        self._address = (HOST, 0)

    def work(self) -> tuple[int, dict[str, Any]]:
        """Do one request and account for it: HTTP status and body."""
        begun = time.monotonic()
        self.requests += 1
        status, error = 200, ""
        body: dict[str, Any] = {"ok": True}
        try:
            self._work()
        except WorkFailed as failure:
            status, body, error = failure.status, {"ok": False, "service": self.name}, str(failure)
            self.errors += 1
            self.log.write("ERROR", error)
        self.last_error, self.last_ms = error, int((time.monotonic() - begun) * 1000)
        if self.last_ms > SLOW_MS and len(self.sessions) > 1000:
            self.log.write(
                "WARN",
                f"slow request, {self.last_ms} ms: the session cache grows and is never evicted, "
                f"{len(self.sessions)} entries, memory {memory_mb()} MB",
            )
        elif self.requests % 10 == 1:
            self.log.write("INFO", f"GET {self.config['path']} {status} in {self.last_ms} ms")
        return status, body

    def _work(self) -> None:
        if not self.pool.acquire(timeout=0.1):
            size, version = self.config["pool_size"], self.config["version"]
            raise WorkFailed(503, f"connection pool exhausted: pool_size is {size} (config v{version})")
        try:
            self.sessions.sweep()
            self._look_up()
            try:
                self.store.append({"time": round(time.time(), 3), "request": self.requests})
            except OSError as error:
                raise WorkFailed(
                    507, f"cannot write data/records.jsonl: disk quota exceeded, {error.strerror}"
                ) from None
            if self.config["dependency"]:
                self._ask_dependency()
        finally:
            self.pool.release()

    def _look_up(self) -> None:
        table = self.config["table"]
        try:
            read(self.home.folder / "tables" / table)
        except (OSError, ValueError):
            raise WorkFailed(
                500, f"cannot read tables/{table}: no such file (config v{self.config['version']})"
            ) from None

    def _ask_dependency(self) -> None:
        name, path = self.config["dependency"], self.config["dependency_path"]
        host, port = self._dependency()
        connection = HTTPConnection(host, port, timeout=self.config["timeout_ms"] / 1000)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except TimeoutError:
            text = f"dependency {name} did not answer within {self.config['timeout_ms']} ms"
            raise WorkFailed(504, text) from None
        except (OSError, HTTPException):
            raise WorkFailed(502, f"dependency {name} refused the connection at {host}:{port}") from None
        finally:
            connection.close()
        if status == 404:
            version = self.config["version"]
            raise WorkFailed(502, f"dependency {name} answered 404 for {path} (dependency_path of config v{version})")
        if status != 200:
            raise WorkFailed(502, f"dependency {name} answered {status}")

    def _dependency(self) -> tuple[str, int]:
        found = read(self.home.dependency)
        address = (str(found["host"]), int(found["port"]))
        if self._address[1] and address != self._address:
            was, name = self._address[1], self.config["dependency"]
            self.log.write("WARN", f"address of dependency {name} changed from port {was} to port {address[1]}")
        self._address = address
        return address

    def health(self) -> dict[str, Any]:
        """How the last request went. It looks at the store first: a service that cannot do that is not healthy."""
        self.store.used()
        slow = self.last_ms > SLOW_MS and not self.last_error
        return {
            "status": "failing" if self.last_error else "slow" if slow else "ok",
            "detail": self.last_error or (f"last request took {self.last_ms} ms" if slow else ""),
        }

    def metrics(self) -> dict[str, int]:
        """Counters and gauges by name."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "last_ms": self.last_ms,
            "uptime_s": int(time.monotonic() - self.started),
            "memory_mb": memory_mb(),
            "cache_entries": len(self.sessions),
            "data_bytes": self.store.used(),
            "quota_bytes": self.store.quota,
            "config_version": self.config["version"],
        }

    def watch(self) -> None:
        """Log what a request cannot log itself: that it waits for ever. Now and then, what every service chatters."""
        told = 0.0
        for tick in range(1, sys.maxsize):
            time.sleep(0.25)
            since = self.store.waiting_since
            if since and time.monotonic() - since > HUNG_S and time.monotonic() - told > 5:
                told = time.monotonic()
                waited = time.monotonic() - since
                text = f"watchdog: deadlock, a worker has waited {waited:.0f} s for a lock that compaction holds"
                self.log.write("ERROR", f"{text}; the process accepts requests and answers none")
            if tick % 60 == 0:
                self.log.write("INFO", f"heartbeat: {self.requests} requests, memory {memory_mb()} MB, clock in step")


def memory_mb() -> int:
    """The resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 >> 20


class Handler(BaseHTTPRequestHandler):
    """Three paths: the work endpoint of the config, /health and /metrics."""

    service: Service
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/health":
            self._answer(200, self.service.health())
        elif self.path == "/metrics":
            lines = [f"{self.service.name}_{name} {value}" for name, value in self.service.metrics().items()]
            self._send(200, "text/plain", "\n".join(lines) + "\n")
        elif self.path == self.service.config["path"]:
            self._answer(*self.service.work())
        else:
            self._answer(404, {"ok": False, "error": "no such path"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(body))

    def _send(self, status: int, kind: str, text: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())
        except OSError:
            self.service.log.write("INFO", "a caller left before its answer was ready")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the service keeps its own log."""


class Server(ThreadingHTTPServer):
    """A thread a request. The port stays reserved by the supervisor, which holds it bound and never listens."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_port = True
    request_queue_size = 64


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(state: Path, name: str, parent: int) -> int:
    """Serve until told to stop."""
    die_with_parent(parent)
    signal.signal(signal.SIGTERM, _stop)
    service = Service(state, name)
    if not take_lock(service.home.lock, service.log):
        return CANNOT_START
    Handler.service = service
    background = {signal.SIGUSR1: service.store.compact, signal.SIGUSR2: service.sessions.leak}
    for sig, job in background.items():
        signal.signal(sig, lambda *_, job=job: threading.Thread(target=job, daemon=True).start())
    try:
        with Server((HOST, port_of(state, name)), Handler) as server:
            service.log.write("INFO", f"started with config v{service.config['version']}")
            service.log.write("WARN", "certificate expires in 61 days")
            threading.Thread(target=service.watch, daemon=True).start()
            server.serve_forever(poll_interval=0.1)
    finally:
        service.home.lock.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))

"""Takes notices to people, in a thread of its own: no run waits for a command or a webhook, or fails with it.

Notices that come close together go out as one. Each is tried once: the first failure is a warning in the log and an
event, and so is the first success after it. What waits is not lost, `approvals list` has it. The command is given the
notices on stdin and an environment of three names; no shell is asked, and it cannot answer what it is told of, for the
gateway refuses whatever carries that mark.
"""

import logging
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from runtime.gateway.peer import MARK
from runtime.notices import Notice, NotifyBy
from store.records.canonical import canonical
from store.records.errors import Unreachable

log = logging.getLogger("bailiwick.notify")

MOST = 1000
"""Notices that may wait to go out; more are dropped, for who is told of a thousand looks at the list."""
CLOSING_S = 2.0
"""The longest that a runtime's end waits for what is still to go out."""
KEPT = ("HOME", "LANG", "PATH")


class Notifier:
    """Sends notices. `tell` is told why sending fails, and "" once it works again, from the notifier's thread."""

    def __init__(self, by: NotifyBy, tell: Callable[[str], None]) -> None:
        self._by, self._tell = by, tell
        self._waiting: queue.Queue[Notice | None] = queue.Queue(MOST)
        self._telling = threading.Lock()
        self._closed = False
        self._failing = False
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
        self._thread.start()

    def tell(self, notice: Notice) -> None:
        """Have people told. Returns at once, whatever becomes of it."""
        with suppress(queue.Full):
            self._waiting.put_nowait(notice)

    def close(self) -> None:
        """Send what waits, for as long as CLOSING_S; `tell` is not called after this."""
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
            self._thread.join(CLOSING_S)
        with self._telling:
            self._closed = True

    def _work(self) -> None:
        last = False
        while not (last or self._closed):
            notices, last = self._gathered()
            if not notices:
                continue
            try:
                send(self._by, notices)
            except Unreachable as error:
                self._came(str(error))
            except Exception as error:  # a fault of ours must not end the telling of others
                self._came(f"a notice could not be made: {type(error).__name__}")
            else:
                self._came("")

    def _gathered(self) -> tuple[list[Notice], bool]:
        """The notices that come within `gather_s` of the first, each once; and whether these are the last."""
        found: list[Notice] = []
        first = self._waiting.get()
        until = time.monotonic() + self._by.gather_s
        while first is not None:
            if first not in found:
                found.append(first)
            try:
                first = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return found, False
        return found, True

    def _came(self, trouble: str) -> None:
        if bool(trouble) == self._failing:
            return
        self._failing = bool(trouble)
        with self._telling:
            if not self._closed:
                if trouble:
                    log.warning("nobody is told that something waits: %s", trouble)
                self._tell(trouble)


def send(by: NotifyBy, notices: list[Notice]) -> None:
    """Send notices, `{"waiting": [...]}` in canonical JSON. Raises Unreachable if that did not work."""
    text = canonical({"waiting": [asdict(notice) for notice in notices]})
    if by.command:
        _run(by, text)
    else:
        _post(by, text)


def _run(by: NotifyBy, text: bytes) -> None:
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {MARK: "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        child = subprocess.Popen(by.command, env=environment, cwd="/", start_new_session=True, **pipes)  # type: ignore[call-overload]
    except OSError as error:
        raise Unreachable(f"the command cannot be started: {error.strerror}", by.command[0]) from None
    try:
        child.communicate(text, timeout=by.timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # and what it has started; its number is its own until it is waited for
        child.wait()
        raise Unreachable(f"the command did not end within {by.timeout_s:g} s", by.command[0]) from None
    if child.returncode:
        raise Unreachable(f"the command ended with {child.returncode}", by.command[0])


def _post(by: NotifyBy, text: bytes) -> None:
    """No redirect is followed and no proxy asked, whatever the environment says."""
    parts = urlsplit(by.webhook)
    host = parts.hostname or ""
    try:
        with closing(_connection(parts.scheme == "https", host, parts.port, by.timeout_s)) as connection:
            connection.connect()
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            with _cut_off(connection.sock, by.timeout_s):
                connection.request("POST", path, text, {"Content-Type": "application/json", "User-Agent": "bailiwick"})
                status = connection.getresponse().status
    except (OSError, HTTPException, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Unreachable(f"the webhook did not answer: {reason}", host) from None
    if not 200 <= status < 300:
        raise Unreachable(f"the webhook answered {status}", host)


@contextmanager
def _cut_off(open_socket: socket.socket, seconds: float) -> Iterator[None]:
    """Ends whatever goes on over a socket after so long: its own timeout begins anew with every byte that comes. Raises
    TimeoutError then, even if what had come until the cut would pass for an answer."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):
            socket.socket.shutdown(open_socket, socket.SHUT_RDWR)  # TLS would want the other side's word as well

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
    if late.is_set():
        raise TimeoutError


def _connection(secure: bool, host: str, port: int | None, timeout_s: float) -> HTTPConnection:
    if not secure:
        return HTTPConnection(host, port, timeout=timeout_s)
    from ssl import create_default_context

    return HTTPSConnection(host, port, timeout=timeout_s, context=create_default_context())

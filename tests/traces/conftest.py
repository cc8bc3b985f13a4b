"""Traces are made of what a real core records, so their tests share the fixtures of the conductor's."""

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.conductor.conftest import agents, live, site
from tests.traces.collector import Receiver

__all__ = ["agents", "live", "site"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector that takes everything."""
    made = Receiver()
    made.hold.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), made.handler())
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()

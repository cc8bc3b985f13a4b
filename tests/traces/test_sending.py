"""Runs are sent as they end, and no run and no end of a runtime waits for a collector that does not answer."""

import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.traces import sender as sending
from runtime.traces.sinks import Collector, TraceFile
from store.ledger.ledger import Ledger
from store.records.errors import SettingsError, Unreachable
from store.records.kinds import Kind
from tests.traces.collector import Receiver, parsed, said, spans


async def looks(run: Run) -> str:
    await run.uuid()
    return "looked"


FLOW = Workflow("flow", 1, looks, None, ())


def changes(folder: Path) -> list[tuple[str, Any]]:
    """What the ledger says of the sending of traces."""
    with Ledger.open(folder, read_only=True) as ledger:
        found = ledger.events(limit=10_000, kinds=[Kind.TRACES_CHANGED])
        return [(each.decision, ledger.payload(each.payload)) for each in found]


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_each_run_is_sent_as_it_ends(live: Any, site: Any, receiver: Receiver, tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    async with live(FLOW, otlp_endpoint=receiver.url, otlp_file=file) as life:
        runs = [(await life.run("flow", task="xyzzy")).run for _ in range(3)]
    got = [json.loads(body) for _, _, body in receiver.taken]
    assert [said(spans(each)[0])["bailiwick.run"] for each in got] == runs
    assert lines(file) == got
    assert file.stat().st_mode & 0o777 == 0o600
    [path] = {path for path, _, _ in receiver.taken}
    assert path == "/v1/traces"
    assert {headers["Content-Type"] for _, headers, _ in receiver.taken} == {"application/json"}
    assert all(b"xyzzy" not in body for _, _, body in receiver.taken)
    assert {parsed(each).resource_spans[0].scope_spans[0].spans[0].name for each in got} == {"invoke_workflow flow"}
    assert changes(site.folder) == []


async def test_nothing_is_sent_unless_somebody_said_so(live: Any) -> None:
    async with live(FLOW) as life:
        await life.run("flow")
        assert life.core.conductor.on_end("any run") is None
        assert life.core._traces is None


async def test_a_collector_that_hangs_holds_up_nothing(
    live: Any, site: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "CLOSING_S", 0.2)
    receiver.hold.clear()
    async with live(FLOW, otlp_endpoint=receiver.url) as life:
        for _ in range(5):
            assert (await life.run("flow")).status == "completed"
        assert receiver.came.acquire(timeout=10)
        assert len(receiver.taken) == 1  # the first hangs in there still, and the runs and the runtime have ended
    receiver.hold.set()
    assert changes(site.folder) == []


async def test_one_warning_and_one_event_until_it_works_again(
    live: Any, site: Any, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 503
    async with live(FLOW, otlp_endpoint=receiver.url) as life:
        for status in (503, 503, 200, 200):
            receiver.status = status
            await life.run("flow")
            assert receiver.came.acquire(timeout=10)
            while life.core._traces._waiting.unfinished_tasks:
                time.sleep(0.001)
    assert [(decision, said["unsent"]) for decision, said in changes(site.folder)] == [("failed", 1), ("restored", 2)]
    assert "answered 503" in changes(site.folder)[0][1]["reason"]
    assert [each.levelno for each in caplog.records if each.name == "bailiwick.traces"] == [logging.WARNING]


async def test_a_collector_that_is_not_there(live: Any, site: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    file = tmp_path / "traces.jsonl"
    async with live(FLOW, otlp_endpoint=f"http://127.0.0.1:{port}", otlp_file=file) as life:
        assert (await life.run("flow")).status == "completed"
    [(decision, told)] = changes(site.folder)
    assert (decision, told["unsent"]) == ("failed", 1)
    assert "refused" in told["reason"].lower()
    assert len(lines(file)) == 1  # the file got it all the same


def test_no_redirect_is_followed_and_no_proxy_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    collector = Collector.parse(f"{receiver.url}/some/where", remote=False)
    collector.send({})
    receiver.status, receiver.headers = 307, {"Location": receiver.url}
    with pytest.raises(Unreachable, match="answered 307"):
        collector.send({})
    assert [path for path, _, _ in receiver.taken] == ["/some/where"] * 2


def test_what_a_collector_rejects_did_not_get_there(receiver: Receiver) -> None:
    collector = Collector.parse(receiver.url, remote=False)
    receiver.body = json.dumps({"partialSuccess": {"rejectedSpans": "2", "errorMessage": "xyzzy"}}).encode()
    with pytest.raises(Unreachable, match="rejected 2 spans"):
        collector.send({})
    receiver.body = b"{" * 2**20
    collector.send({})


def test_certificates_are_verified(receiver: Receiver) -> None:
    connection = Collector.parse("https://127.0.0.1", remote=False)._connection()
    assert connection._context.check_hostname  # type: ignore[attr-defined]
    assert connection._context.verify_mode.name == "CERT_REQUIRED"  # type: ignore[attr-defined]
    with pytest.raises(Unreachable):
        Collector.parse(receiver.url.replace("http:", "https:"), remote=False).send({})
    assert receiver.taken == []


@pytest.mark.parametrize(
    ("url", "remote", "why"),
    [
        ("ftp://127.0.0.1", False, "no URL of http"),
        ("127.0.0.1:4318", False, "no URL of http"),
        ("http://", False, "no URL of http"),
        ("http://127.0.0.1:99999", False, "no URL"),
        ("http://127.0.0.1:4318/a b", False, "no URL of http"),
        ("http://127.0.0.1/\r\nHost: evil", False, "no URL of http"),
        ("http://user:secret@127.0.0.1", False, "no password"),
        ("http://127.0.0.1/?key=1", False, "no password, query"),
        ("http://10.0.0.1:4318", False, "another machine"),
        ("https://collector.example", False, "otlp_remote"),
        ("http://localhost.example", False, "another machine"),
        ("https://localhost", False, "write this one as 127.0.0.1"),
        ("http://collector.example", True, "must be https"),
    ],
)
def test_endpoints_that_may_not_be_used(url: str, remote: bool, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        Collector.parse(url, remote=remote)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:4318", "https://127.0.0.1", "http://[::1]:4318/"])
def test_endpoints_on_this_machine(url: str) -> None:
    assert Collector.parse(url, remote=False).path == "/v1/traces"


def test_a_file_is_added_to_and_never_anything_else(tmp_path: Path) -> None:
    file = tmp_path / "traces"
    file.write_bytes(b'{"cut sh')
    TraceFile(file).send({"a": 1})
    TraceFile(file).send({"b": 2})
    assert file.read_bytes() == b'{"cut sh\n{"a":1}\n{"b":2}\n'
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "", "none/traces"):
        with pytest.raises(Unreachable):
            TraceFile(tmp_path / name).send({})
